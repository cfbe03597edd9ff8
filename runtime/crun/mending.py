"""Writing damaged records again from what this process has read of them, and telling about it."""

import logging
import time
from collections.abc import Callable
from threading import RLock

from runtime.crun.records import Records
from runtime.statuses import Trouble, TroubleKind

# So long mended damage is still reported: several reports reach the control plane meanwhile.
_REPORTED_SECONDS = 60.0

log = logging.getLogger(__name__)


class RecordMender:
    """lock_of: the lock of an instance. Safe to share between threads."""

    def __init__(self, records: Records, lock_of: Callable[[str], RLock]) -> None:
        self._records = records
        self._lock_of = lock_of
        self._mended: dict[str, tuple[float, str]] = {}

    def mend_all(self) -> None:
        """Rewrite damaged records where possible; skips an instance that another thread works on."""
        for instance_id in self._records.damaged():
            lock = self._lock_of(instance_id)
            if lock.acquire(blocking=False):
                try:
                    self.mend_one(instance_id)
                finally:
                    lock.release()

    def mend_one(self, instance_id: str) -> None:
        """Write the record again if it is damaged and was read before; the caller holds the lock."""
        record, damage = self._records.get(instance_id), self._records.damage(instance_id)
        if record is None or not damage:
            return
        try:
            self._records.write(record)
        except OSError as error:
            log.warning("the record of %s cannot be written again: %s", instance_id, error)
            return
        log.warning("the record of %s was damaged and was written again: %s", instance_id, damage)
        self._mended[instance_id] = (time.monotonic() + _REPORTED_SECONDS, damage)

    def trouble(self, instance_id: str) -> Trouble | None:
        """Return what is wrong, or was a moment ago, with the instance's record."""
        damage = self._records.damage(instance_id)
        if damage:
            # Known from before: then only the disk refuses, and a start would not change that.
            is_lost = self._records.get(instance_id) is None
            return Trouble(TroubleKind.DAMAGED, damage, wants_start=is_lost)
        until, damage = self._mended.get(instance_id, (0.0, ""))
        if time.monotonic() >= until:
            self._mended.pop(instance_id, None)
            return None
        return Trouble(TroubleKind.DAMAGED, f"{damage}; it was written again")
