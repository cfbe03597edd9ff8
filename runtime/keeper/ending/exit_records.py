"""How an instance ended last: its exit code, when, and its last log lines, in a small file of its own.

Only an instance that ended has the file, so those that run well cost no disk block for it.
"""

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.bundle import InstanceDirectory
from runtime.disk import Spaces
from runtime.errors import RuntimeCoreError
from runtime.keeper.logs import stamp
from runtime.keeper.processes import say
from runtime.system.files import remove_anything, write_atomically
from runtime.wire import parsed

MOST_LINES = 10
MOST_BYTES = 2 * 1024
# The clock of a process has hundredths of a second: no line of this run is older than that allows.
_SLACK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Ending:
    """One end of a container. exit_code: 128 + signal for a kill. at: seconds since 1970."""

    exit_code: int
    at: float
    last_lines: tuple[str, ...] = ()


def note_content(state_dir: Path, directory: InstanceDirectory) -> None:
    """Note whether its volume holds anything, and which places: what a tenant has emptied or removed itself
    is so by its will.
    """
    record = directory.read_or_none()
    if record is None:
        return
    spaces = Spaces(state_dir)
    try:
        spaces.note_content(record.spec.volume)
        spaces.note_places(record.spec.volume, record.program.volumes)
    except (OSError, RuntimeCoreError) as error:  # then its next start is the more careful one
        say(f"what the volume of {directory.root.name} holds is not noted: {error}")


def note_ending(directory: InstanceDirectory, exit_code: int, *, ran_seconds: float) -> Ending:
    """Keep how a container has just ended; what cannot be written down is at least returned."""
    ending = Ending(exit_code, time.time())
    try:
        ending = replace(ending, last_lines=last_lines(directory, ran_seconds=ran_seconds))
        write_ending(directory, ending)
    except OSError as error:  # a full disk must not keep anybody from starting it again
        say(f"the end of {directory.root.name} is not written down: {error}")
    return ending


def write_ending(directory: InstanceDirectory, ending: Ending) -> None:
    """Keep an ending, whole or not at all, in place of the one before."""
    content = {"exit_code": ending.exit_code, "at": ending.at, "last_lines": ending.last_lines}
    text = json.dumps(content, separators=(",", ":"))
    write_atomically(directory.ending, text, is_durable=False)


def read_ending(directory: InstanceDirectory) -> Ending | None:
    """Return the last ending, None when there was none or it cannot be read."""
    try:
        content = parsed(directory.ending.read_text())
        lines = tuple(str(line) for line in content["last_lines"])
        return Ending(int(content["exit_code"]), float(content["at"]), lines)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def drop_ending(directory: InstanceDirectory) -> None:
    """Delete the record of the last ending; no-op if there is none."""
    remove_anything(directory.ending)


def last_lines(directory: InstanceDirectory, *, ran_seconds: float) -> tuple[str, ...]:
    """Return what a container that has just ended logged last, at most 10 lines and 2 KiB.

    Nothing of an earlier run is among them. A line that is too long for all of it is cut at its end.
    """
    # Stamps have one length and one zone, so their order is that of their text.
    first = stamp(time.time() - ran_seconds - _SLACK_SECONDS)
    text = _end_of(directory.log)
    if text.count(b"\n") <= MOST_LINES:
        text = _end_of(directory.old_log) + text
    found: list[str] = []
    left = MOST_BYTES
    for line in reversed(text.decode("utf-8", "replace").split("\n")[:-1]):
        if len(found) == MOST_LINES or line < first:
            break
        size = len(line.encode()) + 1
        if size > left:
            if not found:
                found.append(line.encode()[:left].decode("utf-8", "ignore"))
            break
        left -= size
        found.append(line)
    return tuple(reversed(found))


def _end_of(path: Path) -> bytes:
    """Whole lines at the end of a log file, more than MOST_BYTES where it has them."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            # A line may be 8 KiB: this much holds one whole line at least.
            log.seek(max(0, size - 8 * MOST_BYTES))
            text = log.read()
    except OSError:  # not there, or damaged
        return b""
    return text if size <= 8 * MOST_BYTES else text.partition(b"\n")[2]
