"""Which epoch of this host counts: what makes a host that was declared lost stop what is not its own.

Control numbers the lives of a host. Each time it is declared lost its number grows, and its shops are
given to others. The number this host knows is on its disk and in its report. When control sees an older
one than its record has, it adopts the host anew: it says which instances are still this host's. All
others are stopped first, their volumes kept aside; only then is the number believed, and until then
nothing may start here. An agent that is killed in the middle has the old number still, and is asked again.
"""

import logging
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runtime.driver import Driver
from runtime.errors import HostError, RuntimeCoreError, StaleFenceError
from runtime.specs import Fence, VolumeFate
from runtime.system.files import write_atomically

log = logging.getLogger(__name__)

GRACE_SECONDS = 3.0
_STOPS_AT_ONCE = 8
_FIRST = 1


class Adoption:
    """The epoch this host knows, 0 while it was never adopted. Thread-safe."""

    def __init__(self, driver: Driver, state_dir: Path) -> None:
        self._driver = driver
        self._file = state_dir / "epoch"
        self._lock = threading.Lock()
        self.known = _read(self._file)
        self._coming = self.known

    def admit(self, fence: Fence) -> None:
        """Refuse what was meant for another life of this host (StaleFenceError, HostError)."""
        if not self._coming:
            return  # never adopted: control's first call comes within seconds and says what is ours
        if fence.epoch < self._coming:
            raise StaleFenceError(
                f"epoch {fence.epoch} is over: this host was declared lost since; it has {self._coming}"
            )
        if fence.epoch > self.known:
            raise HostError(
                f"this host knows epoch {self.known} and is asked in {fence.epoch}; it has yet to"
                " learn which of its instances are still its own"
            )

    def adopt(
        self, epoch: int, *, keep: Collection[str], delete: Collection[str] = ()
    ) -> tuple[str, ...]:
        """Believe the epoch once everything outside `keep` is stopped; the ids that were.

        delete: those whose tenants were removed meanwhile, so their data goes too; all other volumes stay.
        Nothing is stopped at a host's first adoption: there it is not known what was before. Raises
        StaleFenceError for an epoch that is over, HostError when something could not be stopped.
        """
        with self._lock:
            if epoch < self.known:
                raise StaleFenceError(f"epoch {epoch} is over; this host has {self.known}")
            if epoch == self.known:
                return ()
            self._coming = epoch
            stopped = (
                self._stop_others(epoch, frozenset(keep), frozenset(delete))
                if epoch > _FIRST
                else ()
            )
            _write(self._file, epoch)
            self.known = epoch
        log.info(
            "this host is in epoch %d; %d instances were no longer its own", epoch, len(stopped)
        )
        return stopped

    def _stop_others(
        self, epoch: int, keep: frozenset[str], delete: frozenset[str]
    ) -> tuple[str, ...]:
        others = [
            status.instance_id for status in self._driver.list() if status.instance_id not in keep
        ]
        with ThreadPoolExecutor(_STOPS_AT_ONCE) as pool:
            ended = pool.map(
                lambda instance_id: self._stop(instance_id, epoch, _fate(instance_id in delete)),
                others,
            )
            failures = [text for text in ended if text]
        if failures:
            raise HostError(
                f"{len(failures)} instances that are no longer this host's still run: {failures[0]}"
            )
        return tuple(others)

    def _stop(self, instance_id: str, epoch: int, volume: VolumeFate) -> str:
        """Return what kept it from ending; "" when it has ended."""
        try:
            self._driver.ensure_absent(
                instance_id,
                fence=Fence(epoch, 0),
                volume=volume,
                grace_seconds=GRACE_SECONDS,
            )
        except RuntimeCoreError as error:
            return f"{instance_id}: {error.message}"
        return ""


def _fate(is_deleted: bool) -> VolumeFate:
    return VolumeFate.DELETE if is_deleted else VolumeFate.KEEP


def _read(file: Path) -> int:
    try:
        return max(0, int(file.read_text()))
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        # As before its first adoption: control sees that, and says again what is this host's own.
        log.warning("%s is damaged; control is asked to adopt this host anew: %s", file, error)
        return 0


def _write(file: Path, epoch: int) -> None:
    write_atomically(file, f"{epoch}\n")
