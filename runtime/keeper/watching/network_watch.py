"""Looks every few seconds whether somebody has taken away the network's rules, and brings them back."""

import time

from runtime import network
from runtime.bundle import Desired, InstanceDirectory, instance_ids
from runtime.config import HostConfig
from runtime.errors import RuntimeCoreError
from runtime.keeper.loop import Loop
from runtime.keeper.processes import say
from runtime.network import Endpoint

# A look costs a third of a millisecond.
EVERY_SECONDS = 3.0
# Every start changes the tables, too: while they change, everything is compared this often.
COMPARE_SECONDS = 30.0


class NetworkWatch:
    """Compares what the kernel has with what is on disk, when there is a reason to."""

    def __init__(self, loop: Loop, config: HostConfig) -> None:
        self._loop = loop
        self._config = config
        self._settled: int | None = None
        self._handle: int | None = None
        self._compare_at = 0.0
        self._complaint = ""
        # Records change rarely: each is read again only when its file is another one.
        self._known: dict[str, tuple[int, Endpoint]] = {}

    def look(self) -> None:
        """Mend what has to be mended, and look again later."""
        try:
            self._mend()
            self._complaint = ""
        except (RuntimeCoreError, OSError) as error:
            if str(error) != self._complaint:
                say(f"the network cannot be repaired: {error}")
            self._complaint = str(error)
        self._loop.after(EVERY_SECONDS, self.look)

    def _mend(self) -> None:
        generation = network.generation()
        anew = network.ensure_host(self._config)
        handle = network.handle(self._config)
        changed = generation != self._settled and time.monotonic() >= self._compare_at
        if not (anew or changed or handle != self._handle):
            return
        mended = network.repair(self._config, self._endpoints())
        if anew or mended:
            what = ", ".join(mended or ("the rules were gone",))
            say(f"the network was repaired: {what}")
        else:
            self._settled = generation
        self._handle = handle
        self._compare_at = time.monotonic() + COMPARE_SECONDS

    def _endpoints(self) -> list[Endpoint]:
        known: dict[str, tuple[int, Endpoint]] = {}
        for instance_id in instance_ids(self._config.state_dir):
            directory = InstanceDirectory.of(self._config.state_dir, instance_id)
            try:
                changed = directory.record_path.stat().st_mtime_ns
            except OSError:
                changed = 0
            before = self._known.get(instance_id)
            if before and before[0] == changed:
                known[instance_id] = before
                continue
            try:
                record = directory.read()
            except RuntimeCoreError:
                # Damaged: what was read of it before stands, so its port and class are left alone.
                if before:
                    known[instance_id] = before
                continue
            if record and record.desired is Desired.RUNNING:
                spec = record.spec
                known[instance_id] = (
                    changed,
                    Endpoint(
                        spec.published_port, spec.container_port, spec.ceilings, spec.internet
                    ),
                )
        self._known = known
        return [endpoint for _changed, endpoint in known.values()]
