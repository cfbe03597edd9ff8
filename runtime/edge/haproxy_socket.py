"""Talks to HAProxy's runtime socket.

One connection per exchange on purpose: it costs 0.1 ms, and a kept one would go on talking to the old
worker after a reload. Commands without payload are joined by `;` into one line.
"""

import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from runtime.edge.routes import MapChanges
from runtime.errors import CommandFailedError, HostError

_PIECE = 12_000  # bytes of one command line or payload; both must fit into a buffer of 16 KiB
_REWRITE_FROM = (
    200  # `set map` and `del map` look through the whole list: from here on a rewrite is cheaper
)


class HaproxySocket:
    """The runtime socket of one HAProxy. Thread-safe: it keeps no connection and no state.

    master_path: the socket of its master process; without it workers of before a reload are not asked.
    """

    def __init__(
        self, path: Path, master_path: Path | None = None, *, timeout_seconds: float = 5.0
    ) -> None:
        self._path = str(path)
        self._master_path = master_path
        self._timeout = timeout_seconds

    def exchange(self, text: str) -> str:
        """Send one line (or a line with payload) and return the whole answer.

        Raises HostError when HAProxy is not there or does not answer in time.
        """
        return self._exchange(self._path, text)

    def _exchange(self, path: str, text: str) -> str:
        received = []
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(self._timeout)
                connection.connect(path)
                connection.sendall(text.encode())
                while piece := connection.recv(262_144):
                    received.append(piece)
        except OSError as error:
            raise HostError(f"HAProxy does not answer on {path}: {error}") from error
        return b"".join(received).decode("ascii", "replace")

    def command(self, text: str) -> None:
        """Send commands whose success is silence; CommandFailedError carries what HAProxy says else."""
        answer = self.exchange(text).strip()
        if answer:
            raise CommandFailedError(
                f"HAProxy refused {text.split('<<')[0][:80]!r}: {answer[:400]}"
            )

    def process_id(self) -> int:
        """Process id of the worker that answers; another one means that its map starts from the file."""
        for line in self.exchange("show info\n").splitlines():
            name, _, value = line.partition(": ")
            if name == "Pid":
                return int(value)
        raise CommandFailedError("HAProxy's `show info` names no Pid")

    def note_time(self, variable: str) -> None:
        """Write HAProxy's present time into a variable of the worker; rules read how old that is."""
        self.command(f"experimental-mode on;set var {variable} date\n")

    def show_map(self, name: Path) -> Iterator[tuple[str, str]]:
        """Yield every entry of a map as key and value, in its order, doubles included."""
        answer = self.exchange(f"show map {name}\n")
        for line in answer.splitlines():
            parts = line.split(" ", 2)
            if len(parts) == 3 and parts[0].startswith("0x"):
                yield parts[1], parts[2]
            elif line.strip():
                raise CommandFailedError(f"HAProxy refused `show map`: {line[:400]}")

    def change_map(self, name: Path, changes: MapChanges) -> None:
        """Carry out changes on a map. Not one transaction: for many use replace_map."""
        lines = (
            *(f"del map {name} {key}" for key in changes.delete),
            *(f"set map {name} {key} {value}" for key, value in changes.change),
            *(f"add map {name} {key} {value}" for key, value in changes.add[:_REWRITE_FROM]),
        )
        for line in _pieces(lines, joined_by=";"):
            self.command(f"{line}\n")
        self._add(str(name), changes.add[_REWRITE_FROM:])

    def replace_map(self, name: Path, entries: Iterable[tuple[str, str]]) -> None:
        """Put a whole new content in place at one instant; until then the old one is served."""
        answer = self.exchange(f"prepare map {name}\n").strip()
        words, _, version = answer.rpartition(" ")
        if not (words.startswith("New version created") and version.isdecimal()):
            raise CommandFailedError(f"HAProxy refused `prepare map`: {answer[:400]}")
        self._add(f"@{version} {name}", entries)
        self.command(f"commit map @{version} {name}\n")

    def _add(self, target: str, entries: Iterable[tuple[str, str]]) -> None:
        for lines in _pieces((f"{key} {value}" for key, value in entries), joined_by="\n"):
            self.command(f"add map {target} <<\n{lines}\n\n")

    def in_flight(self, table: str, keys: Sequence[str]) -> dict[str, int]:
        """Requests that are being served, by key of the stick table; 0 for a key it does not know.

        Workers of before a reload count too: they go on with the requests they have.
        """
        counts = dict.fromkeys(keys, 0)
        for line in _pieces((f"show table {table} key {key}" for key in keys), joined_by=";"):
            _count(self.exchange(f"{line}\n"), counts)
        for worker in self.old_workers():
            asked = (f"@!{worker} show table {table} key {key}" for key in keys)
            for line in _pieces(asked, joined_by=";"):
                answer = self._ask_master(line)
                if worker in self.old_workers():
                    _count(
                        answer, counts
                    )  # else it has ended, and the master said that it is not there
        return counts

    def _ask_master(self, line: str) -> str:
        """Ask again while the socket refuses: the master executes itself anew at a reload."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return self._exchange(str(self._master_path), f"{line};quit\n")
            except HostError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def old_workers(self) -> tuple[int, ...]:
        """Processes of before a reload that still serve what they had begun."""
        if self._master_path is None or not self._master_path.exists():
            return ()
        answer = self._ask_master("show proc")
        _, _, old = answer.partition("# old workers\n")
        rows = [row.split() for row in old.partition("#")[0].splitlines()]
        return tuple(int(row[0]) for row in rows if len(row) > 1 and row[1] == "worker")


def _count(answer: str, counts: dict[str, int]) -> None:
    for row in answer.splitlines():
        if row.startswith("0x"):
            fields = dict(part.split("=", 1) for part in row.split() if "=" in part)
            counts[fields["key"]] += int(fields["conn_cur"])
        elif row.strip() and not row.startswith("#"):
            raise CommandFailedError(f"HAProxy refused `show table`: {row[:400]}")


def rewrite_is_cheaper(changes: MapChanges) -> bool:
    """Return whether so much changes that the whole map is better put anew."""
    return len(changes.change) + len(changes.delete) >= _REWRITE_FROM


def _pieces(lines: Iterable[str], *, joined_by: str) -> Iterator[str]:
    """Join lines into texts of at most _PIECE bytes."""
    collected: list[str] = []
    size = 0
    for line in lines:
        if collected and size + len(line) > _PIECE:
            yield joined_by.join(collected)
            collected, size = [], 0
        collected.append(line)
        size += len(line) + 1
    if collected:
        yield joined_by.join(collected)


def entries_of(wanted: dict[str, str]) -> Sequence[tuple[str, str]]:
    """Return a table's content in the order HAProxy should hold it (sorted: the file then compares well)."""
    return sorted(wanted.items())
