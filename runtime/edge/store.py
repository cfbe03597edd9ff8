"""Keeps an edge's table on its disk, so that it can start while the control plane is away.

A snapshot is rewritten at most every few seconds; in between every change is appended to a journal,
so that a killed agent has lost nothing. Neither is synced to the platter: after a power cut the edge
asks the control plane first anyway.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from runtime.edge.routes import EdgeRoute, RouteTable
from runtime.system.files import remove_anything, take_place
from runtime.wire import parsed

_VERSION = 1


class RouteStore:
    """The table's files in one directory. One writer: the agent that holds the directory's lock."""

    def __init__(self, state_dir: Path) -> None:
        self._snapshot = state_dir / "routes.state"
        self._journal = state_dir / "routes.journal"

    def load(self) -> RouteTable | None:
        """Return the kept table; None if nothing usable is there (the control plane is asked then)."""
        table = RouteTable()
        try:
            head, *rest = self._snapshot.read_text().splitlines()
            kept = parsed(head)
            if kept["v"] != _VERSION or kept["count"] != len(rest):
                return None
            routes = (_route(parsed(line)) for line in rest)
            table.restore(routes, sequence=int(kept["sequence"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None
        table.apply(self._journalled())
        return table

    def append(self, routes: Iterable[EdgeRoute]) -> None:
        """Add changes to the journal."""
        lines = "".join(
            json.dumps([r.hostname, r.value, r.version, r.sequence]) + "\n" for r in routes
        )
        try:
            journal = self._journal.open("a")
        except (IsADirectoryError, FileNotFoundError):  # damaged: a directory, a link to nowhere
            remove_anything(self._journal)
            journal = self._journal.open("a")
        with journal:
            journal.write(lines)

    def save(self, table: RouteTable) -> None:
        """Rewrite the snapshot and begin an empty journal (a crash between repeats harmless changes)."""
        entries = table.entries()
        head = {"v": _VERSION, "sequence": table.sequence, "count": len(entries)}
        write_atomically(
            self._snapshot,
            "\n".join(
                (
                    json.dumps(head),
                    *(json.dumps([e.hostname, e.value, e.version, e.sequence]) for e in entries),
                )
            )
            + "\n",
        )
        write_atomically(self._journal, "")

    def _journalled(self) -> list[EdgeRoute]:
        try:
            lines = self._journal.read_text().splitlines()
        except (OSError, ValueError):  # not there, or damaged: the control plane is asked anyway
            return []
        found = []
        for line in lines:
            try:
                found.append(_route(parsed(line)))
            except (ValueError, TypeError):
                break  # a line cut off by a crash; its call was never acknowledged
        return found


def _route(values: object) -> EdgeRoute:
    """Return a route as it was kept; TypeError or ValueError for anything else."""
    if not isinstance(values, list) or [type(value) for value in values] != [str, str, int, int]:
        raise TypeError("it is no route")
    return EdgeRoute(*values)


def write_map(path: Path, wanted: dict[str, str]) -> None:
    """Write HAProxy's map file, which it reads at its start."""
    lines = "".join(f"{key} {value}\n" for key, value in sorted(wanted.items()))
    write_atomically(path, lines)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file's content so that a reader sees the old or the new one, never a part."""
    data = content.encode() if isinstance(content, str) else content
    # The writer's own name: the agent and the proxy's boot may write the same file at the same time.
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_bytes(data)
    take_place(fresh, path)
