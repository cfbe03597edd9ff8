"""Amounts are written in one way everywhere, and read back as they are written."""

import ast
from pathlib import Path

import pytest
from django.template import Context, Template

from runtime.units import GIB, KIB, MIB, TIB, bytes_text, cores_text, grown
from settings.kinds import bytes_of

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "–"),
        (0, "0 B"),
        (0.4, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (10 * KIB + 512, "10 KiB"),
        (64 * MIB, "64 MiB"),
        (2 * GIB, "2 GiB"),
        (3.25 * TIB, "3.2 TiB"),
        (5000 * TIB, "5000 TiB"),
    ],
)
def test_bytes_have_the_largest_unit_that_fits(count: float | None, shown: str) -> None:
    assert bytes_text(count) == shown


@pytest.mark.parametrize(
    ("millis", "shown"),
    [(None, "–"), (0, "0"), (50, "0.05"), (1000, "1"), (3600, "3.6"), (1_250_000_000, "1250000")],
)
def test_thousandths_of_a_core_are_cores(millis: int | None, shown: str) -> None:
    assert cores_text(millis) == shown


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("512M", 512 * MIB), ("20g", 20 * GIB), ("2GiB", 2 * GIB), (" 7kb ", 7 * KIB)],
)
def test_a_size_is_read_as_people_write_it(text: str, count: int) -> None:
    assert bytes_of(text) == count


@pytest.mark.parametrize("text", ["", "G", "1.5G", "-1", "2X", "²", "9" * 19])
def test_what_is_no_size_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="write 20G, 512M"):
        bytes_of(text)


def test_pages_write_amounts_as_the_commands_do() -> None:
    page = Template("{% load stoa %}{{ size|bytes_text }}, {{ millis|cores }}")
    assert page.render(Context({"size": 64 * MIB, "millis": 250})) == "64 MiB, 0.25"


def test_a_count_lower_than_before_is_that_of_a_new_cgroup() -> None:
    assert (grown(3, 5), grown(3, 3), grown(3, 1)) == (2, 0, 1)


@pytest.mark.parametrize("package", ["runtime", "workers"])
def test_nobody_else_divides_bytes_by_a_unit(package: str) -> None:
    places = [
        f"{file.relative_to(REPO)}:{node.lineno}"
        for file in sorted((REPO / package).rglob("*.py"))
        if file != REPO / "runtime/units.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Div | ast.FloorDiv)
        and isinstance(node.right, ast.Name)
        and node.right.id in {"KIB", "MIB", "GIB", "TIB"}
    ]
    assert not places, f"runtime.units.bytes_text writes bytes; call it in {places}"
