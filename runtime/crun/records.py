"""The records of this host's instances, read from disk when they changed, and who has which port."""

from pathlib import Path
from threading import Lock

from runtime.bundle import InstanceDirectory, InstanceRecord, instance_ids
from runtime.errors import SpecInvalidError


class Records:
    """A cache over instances/*/instance.json; the files are the truth."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._seen: dict[str, tuple[tuple[int, int], InstanceRecord]] = {}
        self._claims: dict[int, str] = {}
        self._lock = Lock()

    def get(self, instance_id: str) -> InstanceRecord | None:
        """The record of an instance, None when it is not here."""
        directory = InstanceDirectory.of(self._state_dir, instance_id)
        try:
            stat = directory.record_path.stat()
        except FileNotFoundError:
            self._seen.pop(instance_id, None)
            return None
        # A record is replaced, never rewritten: a new inode or time means new content.
        mark = (stat.st_ino, stat.st_mtime_ns)
        known = self._seen.get(instance_id)
        if known and known[0] == mark:
            return known[1]
        record = directory.read()
        if record:
            self._seen[instance_id] = (mark, record)
        return record

    def all(self) -> dict[str, InstanceRecord]:
        """Every record by id, in order of id."""
        found = {one: self.get(one) for one in instance_ids(self._state_dir)}
        return {one: record for one, record in found.items() if record}

    def claim_port(self, port: int, instance_id: str) -> None:
        """Refuse a port another instance has: they would share addresses and ids (SpecInvalidError)."""
        with self._lock:
            if not self._claims:
                self._claims = {
                    record.spec.published_port: one for one, record in self.all().items()
                }
            holder = self._claims.get(port, instance_id)
            if holder != instance_id:
                current = self.get(holder)
                if current and current.spec.published_port == port:
                    raise SpecInvalidError(
                        f"published_port {port} belongs to {holder}; choose another",
                        field="published_port",
                    )
            self._claims[port] = instance_id

    def drop_port(self, port: int, instance_id: str) -> None:
        """The instance no longer has the port."""
        with self._lock:
            if self._claims.get(port) == instance_id:
                del self._claims[port]
