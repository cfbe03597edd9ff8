"""The table of states: every pair of state and event does what its row says, or is refused."""

import ast
from collections.abc import Callable
from typing import cast

import pytest

from runtime.keeper.logs import LogReader
from runtime.keeper.loop import Timer
from runtime.keeper.states import TABLE, Action, Event, KeeperStep, Machine, News, StepRefusedError
from runtime.keeper.supervised import Phase, Supervised
from runtime.statuses import TroubleKind
from tests.runtime.hosts import ROOT

KEEPER = ROOT / "runtime/keeper"
README = KEEPER / "README.md"
_BEGIN, _END = "<!-- the table begins -->\n", "<!-- the table ends -->\n"
PAIRS = [(phase, event) for phase in Phase for event in Event]


def kept_in(phase: Phase) -> Supervised:
    """An instance in that state, with a timer that the state has set."""
    kept = Supervised("ins_walked0001", cast(LogReader, None), phase)
    kept.timer = Timer(0.0, 0, lambda: None)
    return kept


def recording(acts: Callable[[Action, News], None], changed: Callable[[], None]) -> Machine:
    """A machine whose actions are only told."""

    def of(one: Action) -> Callable[[Supervised, News], None]:
        return lambda _kept, news: acts(one, news)

    return Machine({one: of(one) for one in Action}, changed)


@pytest.mark.parametrize(("phase", "event"), PAIRS)
def test_every_pair_does_what_its_row_says_or_is_refused(phase: Phase, event: Event) -> None:
    done: list[tuple[Action, News]] = []
    changes: list[Phase] = []
    kept, news = kept_in(phase), News(pid=7)
    machine = recording(
        lambda one, told: done.append((one, told)), lambda: changes.append(kept.phase)
    )
    timer = kept.timer
    assert timer
    before = kept.facts()
    if (step := TABLE[phase].get(event)) is None:
        with pytest.raises(StepRefusedError, match=f"ins_walked0001 is {phase}.*no {event}"):
            machine.fire(kept, event, news)
        assert (kept.phase, kept.facts(), kept.timer) == (phase, before, timer)
        assert not timer.cancelled
        assert (done, changes) == ([], [])
        return
    machine.fire(kept, event, news)
    assert kept.phase is step.to
    assert done == [(one, news) for one in step.actions]
    assert changes == [step.to], "each step is written down, once"
    assert timer.cancelled is (step.to is not phase), "a timer ends with the state that set it"


def test_an_action_that_fails_keeps_nobody_from_the_next_one(
    capfd: pytest.CaptureFixture[str],
) -> None:
    done: list[Action] = []

    def acts(one: Action, _news: News) -> None:
        if one is Action.NOTE_END:
            raise OSError("the disk is full")
        done.append(one)

    machine = recording(acts, lambda: None)
    kept = kept_in(Phase.RUNNING)
    machine.fire(kept, Event.CRASHED)
    assert kept.phase is Phase.WAITING
    assert done == [Action.PAUSE, Action.CLEAR]
    assert "ins_walked0001: note end failed: OSError('the disk is full')" in capfd.readouterr().err


def test_what_was_stuck_is_reported_until_it_has_gone() -> None:
    machine = recording(lambda _one, _news: None, lambda: None)
    kept = kept_in(Phase.STUCK)
    kept.note(TroubleKind.CANNOT_END, "processes (7,) do not die")
    machine.fire(kept, Event.STOP)
    assert TroubleKind.CANNOT_END in kept.troubles
    machine.fire(kept, Event.CLEARED)
    assert kept.troubles == {}


def test_every_state_can_be_reached_and_left_and_every_word_is_used() -> None:
    steps = [step for rows in TABLE.values() for step in rows.values()]
    assert set(TABLE) == set(Phase)
    assert {event for rows in TABLE.values() for event in rows} == set(Event)
    assert {action for step in steps for action in step.actions} == set(Action)
    for phase in Phase:
        assert _reached_from(phase) == set(Phase), f"from {phase} there is no way to some state"


def _reached_from(phase: Phase) -> set[Phase]:
    found, new = set[Phase](), {phase}
    while new:
        found |= new
        new = {step.to for one in new for step in TABLE[one].values()} - found
    return found


def test_a_client_may_ask_for_start_and_stop_at_any_time() -> None:
    for phase, rows in TABLE.items():
        assert {Event.START, Event.STOP} <= set(rows), phase


def test_whatever_ends_or_fails_while_something_is_ended_is_taken_there() -> None:
    """Their causes are outside: a launcher's line, a process's end. They come in every order."""
    outside = {Event.LAUNCHED, Event.FAILED, Event.RETRY, Event.EXITED, Event.CRASHED}
    for phase in (Phase.STOPPING, Phase.STUCK):
        assert outside | {Event.CLEARED, Event.READY, Event.STUCK} <= set(TABLE[phase])


def test_nobody_but_the_machine_changes_a_phase() -> None:
    found = [
        f"{path.name}:{node.lineno}"
        for path in sorted(KEEPER.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr == "phase"
        and not isinstance(node.ctx, ast.Load)
    ]
    assert [one.split(":")[0] for one in found] == ["states.py"], found


def test_the_readme_shows_the_table_and_explains_every_word() -> None:
    text = README.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    wanted = before + _BEGIN + _picture() + _END + after
    if text != wanted:  # the table is written, and whoever changed it sees that in the diff
        README.write_text(wanted)
    assert text == wanted, f"{README} did not show the table; it does now: look at it and commit it"
    words = [*map(str, Action), *(f"`{one}`" for one in (*Phase, *Event))]
    assert [one for one in words if f"\n| {one} | " not in before] == []


def _picture() -> str:
    lines = ["", "| in state | on event | goes to | and does |", "|---|---|---|---|"]
    for phase, rows in TABLE.items():
        lines += [f"| `{phase}` | `{event}` | {_told(phase, rows[event])} |" for event in rows]
    return "\n".join(lines) + "\n\n"


def _told(phase: Phase, step: KeeperStep) -> str:
    goes = "stays" if step.to is phase else f"`{step.to}`"
    return f"{goes} | {', '.join(step.actions) or '–'}"


# They run in processes of their own: an agent's, a launcher's, a mender's, the one that checks new code.
_ELSEWHERE = frozenset({"client.py", "runtime/keeper/starting/launch.py"})
# What waits for somebody else, by the name it is called by.
_WAITS = frozenset({"sleep", "wait", "communicate", "check_output", "waitid"})
_WAITS_OF_CGROUPS = frozenset({"kill", "freeze", "remove_scope"})


def test_nothing_in_the_keeper_s_one_thread_waits() -> None:
    """A process in the kernel's hands would keep every shop of the host waiting."""
    found = []
    for path in sorted(KEEPER.glob("*.py")):
        if path.name in _ELSEWHERE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            whose, name = ast.unparse(node.func.value), node.func.attr
            of_cgroups = "cgroups" in whose and name in _WAITS_OF_CGROUPS
            if of_cgroups or name in _WAITS:
                found.append(f"{path.name}:{node.lineno} {whose}.{name}")
    assert found == []
