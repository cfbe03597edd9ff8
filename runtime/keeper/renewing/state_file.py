"""What the keeper would have to know if it were killed this moment, in one file for all instances.

One file and not one per instance: a file costs a disk block for every tenant. It is written half a
second after a change at the latest; what is lost in between is found in the cgroups.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.bundle import Desired, InstanceDirectory
from runtime.errors import RecordDamagedError
from runtime.keeper.loop import Loop, Timer
from runtime.keeper.processes import is_first_process, say, start_ticks
from runtime.system.files import write_atomically
from runtime.wire import parsed

Facts = dict[str, dict[str, object]]
DELAY_SECONDS = 0.5


class Memory:
    """Writes the facts soon after each change."""

    def __init__(self, loop: Loop, path: Path, facts: Callable[[], Facts]) -> None:
        self._loop = loop
        self._path = path
        self._facts = facts
        self._due: Timer | None = None

    def changed(self) -> None:
        """Something is different: write before long."""
        if self._due is None:
            self._due = self._loop.after(DELAY_SECONDS, self.write)

    def write(self) -> None:
        """Write now. Not forced to the disk: after a power cut no process is left to adopt anyway."""
        self._due = None
        content = {"boot": boot_id(), "instances": self._facts()}
        text = json.dumps(content, separators=(",", ":"))
        try:
            write_atomically(self._path, text, is_durable=False)
        except OSError as error:  # a full disk must not end the keeper: cgroups tell most of it
            say(f"{self._path} is not written: {error}")

    def load(self) -> dict[str, dict[str, int]]:
        """Return the facts an earlier keeper left; processes of an earlier boot are left out. {} when
        unreadable.
        """
        try:
            content = parsed(self._path.read_text())
            found: dict[str, object] = dict(content["instances"])
            is_this_boot = content["boot"] == boot_id()
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        facts = {name: _whole_numbers(values) for name, values in found.items()}
        if not is_this_boot:
            for values in facts.values():
                values.update(pid=0, ticks=0)
        return facts


@dataclass(frozen=True, slots=True)
class RememberedInstance:
    """What an earlier keeper left of an instance. pid: its first process where it still lives, else 0."""

    pid: int
    is_wanted: bool
    port: int = 0


def found_on_disk(
    directory: InstanceDirectory, facts: dict[str, int], inside: tuple[int, ...]
) -> RememberedInstance | None:
    """Return by the record and by what the earlier keeper knew; None where there is no record.

    Not by the cgroup (inside: the processes in it): a container that somebody took out of it must not run
    beside a second one. Only where the earlier keeper's facts are lost the cgroup tells who it was.
    """
    pid, ticks = facts.get("pid", 0), facts.get("ticks", 0)
    if not facts:
        pid = next((candidate for candidate in inside if is_first_process(candidate)), 0)
    elif not (pid and ticks and start_ticks(pid) == ticks):
        pid = 0
    try:
        record = directory.read()
    except RecordDamagedError as error:
        say(f"{directory.root.name}: {error}")
        return RememberedInstance(
            pid, is_wanted=pid > 0
        )  # what runs goes on; nothing else can be known
    if record is None:
        return None
    return RememberedInstance(pid, record.desired is Desired.RUNNING, record.spec.published_port)


def _whole_numbers(values: object) -> dict[str, int]:
    """Return what may be believed of one instance's facts: those of the right type."""
    items = values.items() if isinstance(values, dict) else ()
    return {name: int(value) for name, value in items if isinstance(value, int) and value >= 0}


def boot_id() -> str:
    """Names this boot of the machine."""
    fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY)
    try:
        return os.read(fd, 64).decode().strip()
    finally:
        os.close(fd)
