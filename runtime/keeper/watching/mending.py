"""Puts back what somebody took from a container that runs: its network, its cgroup.

Both need what the keeper's one thread must not do, so each is done in a process of its own, which
writes one line of JSON and ends.
"""

import json
import os
import signal
from collections.abc import Callable
from functools import partial

from runtime import network
from runtime.bundle import InstanceDirectory
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.errors import RuntimeCoreError
from runtime.keeper.loop import Loop
from runtime.keeper.processes import become_helper, say, send_signal
from runtime.keeper.supervised import Phase, Supervised
from runtime.statuses import TroubleKind
from runtime.system.commands import forked

MOST_SECONDS = 10.0
_GONE = "its cgroup was removed, so none of its limits holds"
_BACK = "it had been taken out of its cgroup; it was put back"


class Mender:
    """One process for an instance and kind at a time."""

    def __init__(self, loop: Loop, config: HostConfig, cgroups: Cgroups) -> None:
        self._loop = loop
        self._config = config
        self._cgroups = cgroups
        self._going: set[tuple[str, str]] = set()

    def replug(self, kept: Supervised) -> None:
        """Look whether the container's network is whole, and make it so."""
        directory = InstanceDirectory.of(self._config.state_dir, kept.instance_id)
        record = directory.read_or_none()
        if record is None:
            return  # the agent tells about that
        spec = record.spec
        endpoint = network.Endpoint(
            spec.published_port, spec.container_port, spec.ceilings, spec.internet
        )
        work = partial(network.replug, self._config, endpoint, netns_pid=kept.pid)
        self._begin(kept, TroubleKind.UNPLUGGED, lambda: ", ".join(work()))

    def take_back(self, kept: Supervised) -> None:
        """Put the container's processes back under their limits."""

        def work() -> str:
            if self._cgroups.take_back(kept.instance_id, kept.pid):
                return _BACK
            raise RuntimeCoreError(_GONE)

        self._begin(kept, TroubleKind.NO_LIMITS, work)

    def _begin(self, kept: Supervised, kind: TroubleKind, work: Callable[[], str]) -> None:
        key = (kept.instance_id, kind)
        if key in self._going:
            return
        report, answer = os.pipe()

        def body() -> None:
            become_helper("stoa-mend")
            try:
                outcome = {"mended": work(), "failed": ""}
            except (RuntimeCoreError, OSError) as error:
                outcome = {"mended": "", "failed": str(error)}
            os.write(answer, json.dumps(outcome).encode())

        pid = forked(body)
        os.close(answer)
        self._going.add(key)
        late = self._loop.after(MOST_SECONDS, partial(send_signal, pid, signal.SIGKILL))

        def ended() -> None:
            late.cancelled = True
            self._loop.forget(report)
            with os.fdopen(report, "rb") as stream:
                line = stream.read()
            self._going.discard(key)
            self._note(kept, kind, json.loads(line) if line else {"failed": "it took too long"})

        self._loop.watch(report, ended)

    def _note(self, kept: Supervised, kind: TroubleKind, outcome: dict[str, str]) -> None:
        if kept.phase is not Phase.RUNNING:
            return
        if failed := outcome.get("failed"):
            if kind not in kept.troubles:
                say(f"{kept.instance_id}: {failed}")
            kept.note(kind, failed, wants_start=True)
        elif mended := outcome["mended"]:
            say(f"{kept.instance_id} was mended: {mended}")
            kept.note(kind, mended, over=True)
        elif not (note := kept.troubles.get(kind)) or not note.until:
            kept.drop_note(kind)
