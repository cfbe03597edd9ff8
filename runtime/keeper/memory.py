"""What the keeper would have to know if it were killed this moment, in one file for all instances.

One file and not one per instance: a file costs a disk block for every tenant. It is written half a
second after a change at the latest; what is lost in between is found in the cgroups.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

from runtime.keeper.loop import Loop, Timer

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
        beside = self._path.with_name(f".{self._path.name}.new")
        content = {"boot": boot_id(), "instances": self._facts()}
        beside.write_text(json.dumps(content, separators=(",", ":")))
        beside.replace(self._path)

    def load(self) -> dict[str, dict[str, int]]:
        """The facts an earlier keeper left; processes of an earlier boot are left out. {} when unreadable."""
        try:
            content = json.loads(self._path.read_text())
            facts: dict[str, dict[str, int]] = content["instances"]
            if content["boot"] != boot_id():
                for one in facts.values():
                    one.update(pid=0, ticks=0)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return facts


def boot_id() -> str:
    """Names this boot of the machine."""
    fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY)
    try:
        return os.read(fd, 64).decode().strip()
    finally:
        os.close(fd)
