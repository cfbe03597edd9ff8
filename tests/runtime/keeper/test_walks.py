"""Whatever happens to instances, in whatever order, and whenever the keeper is killed: the states are those
of the table, and in the end nothing is left.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from runtime.bundle import Desired
from runtime.errors import DataMissingError
from runtime.keeper import keeper as keeper_module
from runtime.keeper import lifecycle, states
from runtime.keeper.starting.start_queue import STARTS_AT_ONCE
from runtime.keeper.states import TABLE, Event, KeeperStep
from runtime.keeper.supervised import Phase
from tests.runtime.keeper.walks import INSTANCES, Walk
from tests.runtime.keeper.yard import Yard

WALKS, STEPS = 10, 100


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[Phase, Event]]:
    """The rows of the table that are used; what is refused fails the test, but for `forget`."""
    rows = Counter[tuple[Phase, Event]]()
    look_up = states.step_of

    def noting(phase: Phase, event: Event, instance_id: str) -> KeeperStep:
        assert event in TABLE[phase] or event is Event.FORGET, f"{event} came in state {phase}"
        rows[phase, event] += 1
        return look_up(phase, event, instance_id)

    monkeypatch.setattr(states, "step_of", noting)
    return rows


@pytest.fixture
def yards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Yard]]:
    """Makes hosts in memory."""
    made: list[Yard] = []

    def make() -> Yard:
        place = tmp_path / f"yard{len(made)}"
        place.mkdir()
        made.append(Yard(place))
        monkeypatch.setattr(keeper_module, "ended_children", made[-1].ended_children)
        monkeypatch.setattr(lifecycle, "disconnect", made[-1].disconnect)
        return made[-1]

    def waits(_seconds: float) -> None:
        raise AssertionError("the keeper's one thread waits for something")

    monkeypatch.setattr(time, "sleep", waits)
    yield make
    for yard in made:
        yard.close()
    # The numbers that a killed keeper's process would have taken with it: logs of instances.
    for link in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            if link.readlink().is_relative_to(tmp_path):
                os.close(int(link.name))


def runs_well(walk: Walk, one: str) -> int:
    """The first process of an instance that was asked for, runs and was well."""
    walk.start(one)
    walk.go(0.0, 0.1)  # what is left of the run before has gone
    (launcher,) = walk.yard.launchers
    walk.yard.launched(launcher, {"pid": 0, "timings_ms": {}})
    walk.turn()
    walk.confirm(one)
    (pid,) = walk.yard.pids(one)
    return pid


def stuck_while_it_is_stopped(walk: Walk, one: str, *, seconds: float) -> None:
    """It is asked for again meanwhile, and ends in its own time."""
    pid = runs_well(walk, one)
    walk.yard.unkillable.add(one)
    walk.stop(one)
    walk.start(one)
    walk.go(seconds, 0.0)
    walk.renew_keeper(one)
    walk.go(seconds, 0.0)
    walk.yard.end(pid)
    walk.go(3.0)


def stuck_when_it_is_to_start_again(walk: Walk, one: str) -> None:
    """Something of the run before is left, and somebody asks for it."""
    pid = runs_well(walk, one)
    walk.yard.spawn(one)
    walk.yard.unkillable.add(one)
    walk.yard.end(pid)
    walk.go(0.0, 0.3)
    assert walk.phases()[one] is Phase.CLEARING
    walk.start(one)
    walk.go(12.0)
    assert walk.phases()[one] is Phase.STUCK
    walk.start(one)
    walk.stop(one)
    assert walk.phases()[one] is Phase.STUCK


def stuck_after_a_start_that_failed(walk: Walk, one: str) -> None:
    """Its data are missing, so it waits; and crun left a process behind."""
    walk.yard.end(runs_well(walk, one))
    walk.go(0.0, 0.3)
    (launcher,) = walk.yard.launchers
    walk.yard.spawn(one)
    walk.yard.unkillable.add(one)
    walk.yard.launched(launcher, {"code": DataMissingError.code, "message": "no data"})
    walk.go(0.0, 12.0)
    assert walk.phases()[one] is Phase.STUCK


def late_and_stuck(walk: Walk, one: str) -> None:
    """A start that hangs is ended; what it made is not to be ended, and it says nothing for long."""
    walk.yard.end(runs_well(walk, one))
    walk.go(0.0, 0.3)
    (launcher,) = walk.yard.launchers
    walk.yard.spawn(one)
    walk.yard.unkillable.add(one)
    walk.yard.now += 130.0
    walk.loop.turn(0.0)
    assert walk.phases()[one] is Phase.STOPPING
    walk.yard.now += 12.0
    walk.loop.turn(0.0)
    assert walk.phases()[one] is Phase.STUCK
    walk.yard.launched(launcher, {})
    walk.turn()


def ended_before_it_was_well(walk: Walk, one: str) -> None:
    """Nobody starts it again by itself."""
    walk.start(one)
    (launcher,) = walk.yard.launchers
    walk.yard.launched(launcher, {"pid": 0, "timings_ms": {}})
    walk.turn()
    (pid,) = walk.yard.pids(one)
    walk.yard.end(pid)
    walk.go(0.0, 100.0)
    assert walk.phases()[one] is Phase.ENDED
    assert walk.ears[0].told[-1]["exit_code"] == 137


def reported_when_it_is_stuck(walk: Walk, one: str, *, line: dict[str, object]) -> None:
    """Its launcher takes its time to die, and says only then what came of it."""
    walk.start(one)
    (launcher,) = walk.yard.launchers
    walk.yard.spawn(one)
    walk.yard.unkillable.add(one)
    walk.stop(one)
    walk.yard.now += 12.0
    walk.loop.turn(0.0)
    assert walk.phases()[one] is Phase.STUCK
    walk.yard.launched(launcher, dict(line))
    walk.turn()


def asked_again_and_again(walk: Walk, one: str) -> None:
    """While it waits for its pause, for what is left, and for its end."""
    walk.yard.end(runs_well(walk, one))
    walk.go(0.0)
    assert walk.phases()[one] is Phase.WAITING
    walk.start(one)
    walk.yard.end(runs_well(walk, one))
    walk.go(0.0)
    walk.stop(one)
    pid = runs_well(walk, one)
    walk.yard.spawn(one)
    walk.yard.unkillable.add(one)
    walk.yard.end(pid)
    walk.go(0.0, 0.3)
    assert walk.phases()[one] is Phase.CLEARING
    walk.stop(one)
    walk.stop(one)
    walk.start(one)
    walk.stop(one)
    assert walk.phases()[one] is Phase.STOPPING


def ended_when_it_is_stuck(walk: Walk, one: str) -> None:
    """What nobody wants any more."""
    pid = runs_well(walk, one)
    walk.yard.unkillable.add(one)
    walk.stop(one)
    walk.go(0.0, 12.0)
    walk.yard.end(pid)
    walk.go(0.0, 3.0)
    assert walk.phases()[one] is Phase.ENDED


def asked_and_stopped_in_the_queue(walk: Walk, one: str) -> None:
    """More than start at once; the first is stopped when its launcher has just done its work."""
    names = [f"ins_walk1{number:05d}" for number in range(STARTS_AT_ONCE + 1)]
    for name in names:
        walk.start(name)
    assert walk.phases()[names[-1]] is Phase.QUEUED
    walk.start(names[-1])
    walk.stop(names[-1])
    walk.stop(names[0])
    walk.yard.launched(min(walk.yard.launchers), {"pid": 0, "timings_ms": {}})
    walk.turn()
    for name in names:
        walk.stop(name)
    walk.go(*[0.1] * 20)
    for name in names:
        walk.forget(name)


def damaged_when_a_keeper_begins(walk: Walk, one: str) -> None:
    """Nobody wants it, and nobody can say whether something is left of it."""
    walk.yard.record(one, Desired.STOPPED)
    walk.yard.damaged.add(one)
    walk.begin()
    walk.go(12.0, 12.0)
    assert walk.phases()[one] is Phase.STUCK
    walk.yard.damaged.clear()


RARE: tuple[Callable[[Walk, str], None], ...] = (
    partial(stuck_while_it_is_stopped, seconds=1.0),
    partial(stuck_while_it_is_stopped, seconds=12.0),
    stuck_when_it_is_to_start_again,
    stuck_after_a_start_that_failed,
    late_and_stuck,
    ended_before_it_was_well,
    partial(reported_when_it_is_stuck, line={"pid": 0, "timings_ms": {}}),
    partial(reported_when_it_is_stuck, line={}),
    ended_when_it_is_stuck,
    asked_again_and_again,
    asked_and_stopped_in_the_queue,
    damaged_when_a_keeper_begins,
)


def test_no_order_of_events_leads_out_of_the_table_or_leaves_anything_behind(
    yards: Callable[[], Yard],
    taken: Counter[tuple[Phase, Event]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    for happens in RARE:
        walk = Walk(yards(), 0)
        happens(walk, INSTANCES[0])
        walk.end()
    for seed in range(WALKS):
        walk = Walk(yards(), seed)
        try:
            for _ in range(STEPS):
                walk.step()
            walk.end()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    said = capfd.readouterr().err
    assert " failed: " not in said, said
    rows = {(phase, event) for phase, events in TABLE.items() for event in events}
    assert rows <= set(taken), f"never used: {[f'{a}+{b}' for a, b in rows - set(taken)]}"
