"""The records of this host's instances, read from disk when they changed, and who has which port."""

from pathlib import Path
from threading import Lock

from runtime.bundle import InstanceDirectory, InstanceRecord, instance_ids
from runtime.errors import RecordDamagedError, SpecInvalidError

_Mark = tuple[int, int]


class Records:
    """A cache over instances/*/instance.json; the files are the truth.

    One that cannot be understood any more is the trouble of its instance alone: what this process read of
    it before stands in for it, and `damaged` tells about it. Who uses a volume is found without reading
    every record: a host with thousands of instances is asked so for each copy of a volume.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._seen: dict[str, tuple[_Mark, InstanceRecord]] = {}
        # What is damaged, by the mark of the file that was looked at.
        self._damage: dict[str, tuple[_Mark | None, str]] = {}
        self._claims: dict[int, str] = {}
        self._lock = Lock()
        # By volume, the instances whose records have named it; only a hint of whom to look at.
        self._named: dict[str, set[str]] = {}
        self._naming = Lock()

    def get(self, instance_id: str) -> InstanceRecord | None:
        """Return the record of an instance; None when it is not here, or is damaged and was never read."""
        directory = InstanceDirectory.of(self._state_dir, instance_id)
        known = self._seen.get(instance_id)
        mark: _Mark | None = None
        try:
            stat = directory.record_path.lstat()
            # A record is replaced, never rewritten: a new inode or time means new content.
            mark = (stat.st_ino, stat.st_mtime_ns)
            if known and known[0] == mark:
                return known[1]
            if mark != self._damage.get(instance_id, (None, ""))[0]:
                record = directory.read()
                self._damage.pop(instance_id, None)
                if record:
                    self._note(mark, record)
                return record
        except FileNotFoundError:
            self.forget(instance_id)
            return None
        except RecordDamagedError as error:
            self._damage[instance_id] = (mark, error.message)
        except OSError as error:
            self._damage[instance_id] = (
                None,
                f"its {directory.record_path.name}: {error.strerror}",
            )
        return known[1] if known else None

    def all(self) -> dict[str, InstanceRecord]:
        """Return every record by id, in order of id."""
        found = {name: self.get(name) for name in instance_ids(self._state_dir)}
        return {name: record for name, record in found.items() if record}

    def write(self, record: InstanceRecord) -> None:
        """Write a record to disk; from now on it counts as a user of its volume."""
        InstanceDirectory.of(self._state_dir, record.spec.instance_id).write(record)
        self.get(record.spec.instance_id)

    def users_of(self, volume: str) -> dict[str, InstanceRecord]:
        """Return the records that name a volume, by id and in order; reads these, and those never read
        before.
        """
        for name in instance_ids(self._state_dir, besides=self._seen):
            self.get(name)
        with self._naming:
            named = sorted(self._named.get(volume, ()))
        found = {name: self.get(name) for name in named}
        return {
            name: record
            for name, record in found.items()
            if record and record.spec.volume == volume
        }

    def damage(self, instance_id: str) -> str:
        """Return what was wrong with an instance's record at the last look; "" for nothing."""
        return self._damage.get(instance_id, (None, ""))[1]

    def damaged(self) -> tuple[str, ...]:
        """Return the instances whose records are damaged, in order."""
        return tuple(
            name for name in sorted(self._damage) if self.get(name) or name in self._damage
        )

    def is_here(self, instance_id: str) -> bool:
        """Return whether this host holds the instance, be its record damaged or not."""
        return self.get(instance_id) is not None or instance_id in self._damage

    def forget(self, instance_id: str) -> None:
        """The instance is gone."""
        self._damage.pop(instance_id, None)
        with self._naming:
            _, record = self._seen.pop(instance_id, (None, None))
            if record is None:
                return
            users = self._named.get(record.spec.volume, set())
            users.discard(instance_id)
            if not users:
                self._named.pop(record.spec.volume, None)

    def _note(self, mark: _Mark, record: InstanceRecord) -> None:
        with self._naming:
            if record.spec.volume:
                self._named.setdefault(record.spec.volume, set()).add(record.spec.instance_id)
            self._seen[record.spec.instance_id] = (mark, record)

    def claim_port(self, port: int, instance_id: str) -> None:
        """Refuse a port another instance has: they would share addresses and ids (SpecInvalidError)."""
        with self._lock:
            if not self._claims:
                self._claims = {
                    record.spec.published_port: name for name, record in self.all().items()
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

    def drop_ports(self, instance_id: str) -> None:
        """The instance no longer has any port; for one whose record does not say which it had."""
        with self._lock:
            for port in [port for port, owner in self._claims.items() if owner == instance_id]:
                del self._claims[port]
