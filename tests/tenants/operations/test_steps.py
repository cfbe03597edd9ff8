"""The rules that every verb's table of steps keeps; a table that breaks one ends the import."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from tenants.operations import steps
from tenants.operations.steps import STEPS, StepFacts
from tenants.states import Verb


def first_too_late(table: tuple[StepFacts, ...]) -> int:
    """Where the first step stands that is not to be called off, or a pivot; past the end for none."""
    return next(
        (n for n, one in enumerate(table) if one.is_pivot or not one.is_cancellable), len(table)
    )


def test_every_table_keeps_the_rules() -> None:
    for verb, table in STEPS.items():
        steps.check(verb, table)
        assert not any(one.is_cancellable for one in table[first_too_late(table) :]), verb


# The first that is not to be called off may as well be: unless it is the pivot, that only moves the border.
LATER = [
    (verb, number)
    for verb, table in STEPS.items()
    for number in range(first_too_late(table), len(table))
    if number > first_too_late(table) or table[number].is_pivot
]


@pytest.mark.parametrize(("verb", "number"), LATER, ids=str)
def test_no_step_is_called_off_from_where_there_is_nothing_to_go_back_to(
    verb: str, number: int
) -> None:
    table = list(STEPS[verb])
    table[number] = replace(table[number], is_cancellable=True)
    with pytest.raises(ValueError, match="there is nothing to go back to"):
        steps.check(verb, table)


@pytest.mark.parametrize(
    ("verb", "number"), [(v, n) for v, t in STEPS.items() for n in range(len(t))]
)
def test_a_step_becomes_a_pivot_only_with_its_cancel_gone(verb: str, number: int) -> None:
    table = list(STEPS[verb])
    table[number] = replace(table[number], is_pivot=True)
    may_be_called_off = any(one.is_cancellable for one in table[number:])
    if not may_be_called_off:
        steps.check(verb, table)
        return
    with pytest.raises(ValueError, match="is_cancellable=True"):
        steps.check(verb, table)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ((StepFacts("a", "a", 0), StepFacts("a", "b", 0)), "two steps have the phase 'a'"),
        ((StepFacts("a", "a", 0, again_from="b"), StepFacts("b", "b", 0)), "again_from='b'"),
        (
            (StepFacts("a", "x", 0), StepFacts("b", "y", 0), StepFacts("c", "x", 0)),
            "steps of one name follow each other",
        ),
    ],
)
def test_a_table_that_cannot_be_carried_out_is_refused(
    table: tuple[StepFacts, ...], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        steps.check(Verb.MOVE, table)


def test_a_wrong_table_ends_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(steps.__file__)
    known = '"clear", "clear", QUIET_SECONDS + _STOP, is_cancellable=False'
    wrong = path.read_text().replace(known, '"clear", "clear", 0')
    assert wrong != path.read_text()
    made = ModuleType("wrong_steps")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    with pytest.raises(ValueError, match="'clear' has is_cancellable=True, but from 'stop' on"):
        exec(compile(wrong, str(path), "exec"), vars(made))  # noqa: S102 - our own module
