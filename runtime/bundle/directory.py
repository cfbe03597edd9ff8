"""An instance's directory on the host, written so that a crash at any moment harms nothing.

instances/<id>/instance.json   spec, program, desired state: enough to start it again without asking
instances/<id>/{out,err}       FIFOs the container writes to and the keeper reads
instances/<id>/log, log.1      what came out of them
instances/<id>/ending          how it ended last, once it has

What the instance writes lies apart from this, where its limit holds (runtime/disk).
Every small file costs a block on disk and is multiplied by the number of tenants, so there is one
file of facts and no rendered configuration: the launcher works that out again at each start.
"""

import json
import os
import stat
from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from runtime.bundle.config import Program
from runtime.errors import RecordDamagedError, RuntimeCoreError
from runtime.ids import check_instance_id, is_instance_id
from runtime.specs import InstanceSpec
from runtime.system.files import make_directory, remove_anything, write_atomically
from runtime.system.trees import remove_tree
from runtime.wire import from_wire, parsed, to_wire


class Desired(StrEnum):
    """What an instance should be doing, also after a reboot."""

    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """The file of facts: all that is needed to start the instance again.

    image: the flat directory of the image on this host.
    """

    spec: InstanceSpec
    image: str
    program: Program
    desired: Desired


@dataclass(frozen=True, slots=True)
class InstanceDirectory:
    """Paths of one instance, and the few acts on them."""

    root: Path

    @property
    def record_path(self) -> Path:
        return self.root / "instance.json"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def old_log(self) -> Path:
        return self.root / "log.1"

    @property
    def ending(self) -> Path:
        return self.root / "ending"

    def fifo(self, stream: str) -> Path:
        """Return the FIFO of `out` or `err`."""
        return self.root / stream

    @classmethod
    def of(cls, state_dir: Path, instance_id: str) -> "InstanceDirectory":
        """Return the directory of an instance; the id is checked because it becomes part of a path."""
        return cls(state_dir / "instances" / check_instance_id(instance_id))

    def exists(self) -> bool:
        """Return whether this host holds the instance."""
        return self.record_path.exists() or self.record_path.is_symlink()

    def read(self) -> InstanceRecord | None:
        """Return the record, or None when the instance is not here; RecordDamagedError when it cannot be
        read.
        """
        try:
            text = self.record_path.read_text()
        except FileNotFoundError:
            if not self.record_path.is_symlink():
                return None
            raise RecordDamagedError(f"its {self.record_path.name} is a link to nothing") from None
        except UnicodeDecodeError as error:
            raise RecordDamagedError(f"its {self.record_path.name} is no text") from error
        except OSError as error:
            raise RecordDamagedError(
                f"its {self.record_path.name} cannot be read: {error.strerror}"
            ) from error
        try:
            record = from_wire(InstanceRecord, parsed(text))
            record.spec.check()
        except (ValueError, RuntimeCoreError) as error:
            raise RecordDamagedError(
                f"its {self.record_path.name} cannot be understood: {str(error)[:200]}"
            ) from error
        if record.spec.instance_id != self.root.name:
            raise RecordDamagedError(
                f"its {self.record_path.name} is that of {record.spec.instance_id}"
            )
        return record

    def read_or_none(self) -> InstanceRecord | None:
        """Return the record; None if it is not here or cannot be read, for callers that can do without."""
        try:
            return self.read()
        except RecordDamagedError:
            return None

    def write(self, record: InstanceRecord) -> None:
        """Put the record on disk, whole or not at all, also when the power fails."""
        make_directory(self.root)
        write_atomically(self.record_path, json.dumps(to_wire(record), separators=(",", ":")))

    def make_fifos(self) -> None:
        """Make the FIFOs; no-op if they are there. What is no FIFO makes way."""
        for stream in ("out", "err"):
            if not _is_fifo(self.fifo(stream)):
                remove_anything(self.fifo(stream))
                os.mkfifo(self.fifo(stream), 0o600)

    def give_fifos(self, owner: int) -> None:
        """Let an id of the instance's own open them again as /dev/stdout and /dev/stderr."""
        for stream in ("out", "err"):
            os.chown(self.fifo(stream), owner, owner)

    def remove(self) -> None:
        """Remove everything; the record goes first, so that a crash half-way leaves no half instance."""
        remove_anything(self.record_path)
        if self.root.is_dir():
            remove_tree(self.root)
        else:
            remove_anything(self.root)


def instance_ids(state_dir: Path, *, besides: Container[str] = ()) -> tuple[str, ...]:
    """Return the ids of all instances this host holds, in order; besides: ids that are left out."""
    try:
        names = os.listdir(state_dir / "instances")  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(sorted(name for name in names if name not in besides and is_instance_id(name)))


def _is_fifo(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.lstat().st_mode)
    except FileNotFoundError:
        return False
