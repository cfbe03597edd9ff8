"""What commands print: tables for people, JSON for programs, and questions before a loss."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from controlplane.cli.errors import USAGE, CliError

_COLOURS = {"good": "32", "busy": "33", "bad": "31", "calm": "2"}
_TONES = {
    **dict.fromkeys(("open", "live", "alive", "running", "succeeded", "used", "done"), "good"),
    **dict.fromkeys(("cordoned", "draining", "pending", "requested", "waiting", "silent"), "busy"),
    **dict.fromkeys(("failed", "lost", "unreachable"), "bad"),
    **dict.fromkeys(("removed", "expired", "revoked", "cancelled"), "calm"),
}


def as_json(value: Any) -> None:
    """One JSON document."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print aligned columns, numbers to the right. empty: printed when there is no row."""
    texts = [[_text(cell) for cell in row] for row in rows]
    if not texts:
        print(empty)
        return
    widths = [max(len(line[at]) for line in [list(head), *texts]) for at in range(len(head))]
    right = [all(_is_number(line[at]) for line in texts) for at in range(len(head))]
    print(_paint(_line(head, widths, right), "calm"))
    for line in texts:
        written = _line(line, widths, right)
        for cell in line:
            if cell in _TONES:
                written = written.replace(cell, _paint(cell, _TONES[cell]), 1)
                break
        print(written.rstrip())


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line."""
    texts = [(name, _text(value)) for name, value in pairs]
    width = max(len(name) for name, _ in texts)
    for name, value in texts:
        print(f"{_paint(name.ljust(width), 'calm')}  {value}")


def note(text: str) -> None:
    """Print something for people on stderr, beside the result."""
    print(text, file=sys.stderr, flush=True)


def confirm(name: str, what: str, *, yes: bool) -> None:
    """Ask for the name before something is lost. Raises CliError when it does not match."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError(f"{what}; say --yes when that is meant", code=USAGE)
    sys.stderr.write(f"{what}.\nType {name} to go on: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != name:
        raise CliError("nothing was done")


def _text(cell: object) -> str:
    if isinstance(cell, dict):
        return ",".join(f"{key}={value}" for key, value in cell.items()) or "–"
    return "–" if cell in (None, "") else str(cell)


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text == "–"


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    placed = (
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(cells, widths, right, strict=True)
    )
    return "  ".join(placed)


def _paint(text: str, tone: str) -> str:
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return f"\033[{_COLOURS[tone]}m{text}\033[0m"
