"""What instances occupy on disk, how close each is to its limit, and the limits put in force again.

It goes by what is there, at every look: a limit that is wrong, because an extra is due or over or
because a process was killed while it was lifted, is put right.
"""

import logging
import time
from threading import Lock

from runtime.bundle import InstanceRecord
from runtime.disk import Spaces, next_limit, space_of, state_of
from runtime.errors import HostError
from runtime.statuses import DiskState

# Quota groups are brought up to date with every commit of the store, about this often.
LOOK_SECONDS = 5.0
# Walking files is dear: what no quota counts is measured again after this long.
WALK_SECONDS = 60.0
_TIDY_SECONDS = 600.0

log = logging.getLogger(__name__)


class Disks:
    """Remembers the last look; safe to share between threads."""

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces
        self._lock = Lock()
        self._looked_at = self._tidied_at = float("-inf")
        self._counted: dict[str, int] = {}
        self._walked: dict[str, tuple[float, int]] = {}
        # Nothing that lies in the store goes back to where things lay before there was one.
        self._in_store: set[str] = set()

    def look(self, records: dict[str, InstanceRecord]) -> None:
        """Read what every space holds, unless that was done a moment ago, and put limits right."""
        now = time.monotonic()
        with self._lock:
            if now - self._looked_at < LOOK_SECONDS:
                return
            self._looked_at = now
            try:
                self._counted = self._settle(records)
                if self._spaces.quota.enforces and now - self._tidied_at >= _TIDY_SECONDS:
                    self._tidied_at = now
                    self._spaces.quota.tidy()
            except (OSError, HostError) as error:
                log.warning("the tenants' store cannot be looked at: %s", error)

    def used(self, instance_id: str, record: InstanceRecord) -> int:
        """Return the bytes that the instance occupies; parts that no quota counts are walked now and then."""
        counted = self._counted.get(instance_id, 0)
        if instance_id in self._in_store:
            return counted
        if not self._spaces.is_plain(instance_id, record.spec.volume):
            self._in_store.add(instance_id)
            return counted
        now = time.monotonic()
        at, amount = self._walked.get(instance_id, (-WALK_SECONDS, 0))
        if now - at >= WALK_SECONDS:
            amount = self._spaces.plain_bytes(instance_id, record.spec.volume)
            self._walked[instance_id] = (now, amount)
        return counted + amount

    def state(self, instance_id: str, record: InstanceRecord) -> DiskState:
        """Return how close the instance was to its limit at the last look."""
        used = self._counted.get(instance_id, 0) + self._walked.get(instance_id, (0.0, 0))[1]
        return state_of(used, record.spec.ceilings.disk_bytes)

    def forget(self, instance_id: str) -> None:
        """The instance is gone."""
        self._walked.pop(instance_id, None)
        self._in_store.discard(instance_id)

    def _settle(self, records: dict[str, InstanceRecord]) -> dict[str, int]:
        quota = self._spaces.quota
        if not quota.enforces:
            return {}
        usage, limits = quota.usage(), quota.limits()
        counted = {}
        for instance_id, record in records.items():
            name = space_of(instance_id, record.spec.volume)
            if name in usage:
                counted[instance_id] = usage[name]
                current = limits.get(name)
                wanted = next_limit(usage[name], record.spec.ceilings.disk_bytes, current)
                if wanted == current:
                    continue
                try:
                    quota.limit(name, wanted)
                except (OSError, HostError) as error:
                    log.warning("the disk limit of %s cannot be set: %s", instance_id, error)
        return counted
