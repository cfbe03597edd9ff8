"""What the documents name is there: tests in the table of faults."""

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
FAULTS = (REPO / "docs/faults.md").read_text().splitlines()
# `tests/…/test_x.py`, `tests/…/test_x.py::test_name`, and `::test_name` or `…::test_name` of the file before.
_NAMED = re.compile(r"`((?:tests/[\w/.-]+|…)?(?:::\w+)?)`")


def _named() -> list[tuple[str, str]]:
    """File and name (or "") of every test in the table."""
    found, file = [], ""
    for line in FAULTS:
        for told in _NAMED.findall(line):
            place, _, name = told.partition("::")
            file = place if place.startswith("tests/") else file
            found.append((file, name))
    return found


@pytest.mark.parametrize(("file", "name"), sorted(set(_named())))
def test_every_test_in_the_table_of_faults_exists(file: str, name: str) -> None:
    path = REPO / file
    assert path.is_file(), f"docs/faults.md names {file}, which is not there"
    text = path.read_text()
    wanted = rf"^ *(async )?def {name}\(" if name else r"^ *(async )?def test_\w+\("
    assert re.search(wanted, text, re.MULTILINE), f"{file} has no {name or 'test'}"


def test_every_fault_names_what_shows_it() -> None:
    rows = [line for line in FAULTS if line.startswith("| ") and not line.startswith("| fault ")]
    assert len(rows) > 80
    assert [row for row in rows if "`tests/" not in row.split("|")[-2]] == []
