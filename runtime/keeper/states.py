"""The states of an instance in the keeper, and every step from one to the next.

One table says what may happen when; README.md shows it with what each word means. `Machine.fire` is the
only place that changes an instance's phase: it looks the step up, refuses what has no row, has the change
written down, and acts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from runtime.errors import HostError
from runtime.keeper.loop import place_of
from runtime.keeper.processes import say
from runtime.keeper.supervised import Phase, Supervised
from runtime.statuses import TroubleKind


class Event(StrEnum):
    """What can happen to an instance."""

    START = "start"
    STOP = "stop"
    FORGET = "forget"
    ADOPT = "adopt"
    RESUME = "resume"
    DUE = "due"
    TURN = "turn"
    LAUNCHED = "launched"
    FAILED = "failed"
    RETRY = "retry"
    LATE = "late"
    EXITED = "exited"
    CRASHED = "crashed"
    CLEARED = "cleared"
    READY = "ready"
    STUCK = "stuck"


class Action(StrEnum):
    """What the keeper does in a step; runtime/keeper/lifecycle.py has a method for each."""

    RENEW = "renew"
    QUEUE = "queue"
    LEAVE_QUEUE = "leave queue"
    LAUNCH = "launch"
    ABORT = "abort"
    SERVE = "serve"
    GREET = "greet"
    TERMINATE = "terminate"
    KILL = "kill"
    NOTE_END = "note end"
    GIVE_UP = "give up"
    REFUSE = "refuse"
    PAUSE = "pause"
    CLEAR = "clear"
    CLEAR_ALL = "clear all"
    SETTLE = "settle"
    REPORT = "report"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class KeeperStep:
    """Where an event leads, and what is done there, in this order."""

    to: Phase
    actions: tuple[Action, ...]


def _rows(*rows: tuple[Event, Phase, tuple[Action, ...]]) -> dict[Event, KeeperStep]:
    return {event: KeeperStep(to, actions) for event, to, actions in rows}


def _until_nothing_is_left(phase: Phase) -> dict[Event, KeeperStep]:
    """Whatever ends or fails here, the state stays until no process is left."""
    return _rows(
        (Event.START, phase, (Action.RENEW,)),
        (Event.STOP, phase, ()),
        (Event.LAUNCHED, phase, (Action.SERVE, Action.KILL)),
        (Event.FAILED, phase, (Action.CLEAR_ALL,)),
        (Event.RETRY, phase, (Action.CLEAR_ALL,)),
        (Event.EXITED, phase, (Action.NOTE_END, Action.CLEAR)),
        (Event.CRASHED, phase, (Action.NOTE_END, Action.CLEAR)),
        (Event.CLEARED, Phase.ENDED, (Action.SETTLE,)),
        (Event.READY, Phase.QUEUED, (Action.QUEUE,)),
        (Event.STUCK, Phase.STUCK, (Action.REPORT,)),
    )


TABLE: dict[Phase, dict[Event, KeeperStep]] = {
    Phase.ENDED: _rows(
        (Event.START, Phase.CLEARING, (Action.RENEW, Action.CLEAR)),
        (Event.STOP, Phase.STOPPING, (Action.CLEAR,)),
        (Event.FORGET, Phase.ENDED, (Action.DROP,)),
        (Event.ADOPT, Phase.RUNNING, (Action.SERVE,)),
        (Event.RESUME, Phase.CLEARING, (Action.CLEAR_ALL,)),
        (Event.CLEARED, Phase.ENDED, ()),
        (Event.STUCK, Phase.STUCK, (Action.REPORT,)),
    ),
    Phase.WAITING: _rows(
        (Event.START, Phase.CLEARING, (Action.RENEW, Action.CLEAR)),
        (Event.STOP, Phase.STOPPING, (Action.CLEAR,)),
        (Event.DUE, Phase.CLEARING, (Action.CLEAR,)),
        (Event.READY, Phase.WAITING, ()),
        (Event.STUCK, Phase.STUCK, (Action.REPORT,)),
    ),
    Phase.CLEARING: _rows(
        (Event.START, Phase.CLEARING, (Action.RENEW,)),
        (Event.STOP, Phase.STOPPING, (Action.CLEAR,)),
        (Event.READY, Phase.QUEUED, (Action.QUEUE,)),
        (Event.STUCK, Phase.STUCK, (Action.REPORT,)),
    ),
    Phase.QUEUED: _rows(
        (Event.START, Phase.QUEUED, ()),
        (Event.STOP, Phase.STOPPING, (Action.LEAVE_QUEUE, Action.CLEAR)),
        (Event.TURN, Phase.STARTING, (Action.LAUNCH,)),
    ),
    Phase.STARTING: _rows(
        (Event.START, Phase.STARTING, ()),
        (Event.STOP, Phase.STOPPING, (Action.ABORT, Action.CLEAR)),
        (Event.LAUNCHED, Phase.RUNNING, (Action.SERVE, Action.GREET)),
        (Event.FAILED, Phase.STOPPING, (Action.GIVE_UP, Action.REFUSE, Action.CLEAR_ALL)),
        (Event.RETRY, Phase.WAITING, (Action.PAUSE, Action.CLEAR_ALL)),
        (Event.LATE, Phase.STOPPING, (Action.ABORT, Action.CLEAR)),
    ),
    Phase.RUNNING: _rows(
        (Event.START, Phase.RUNNING, (Action.GREET,)),
        (Event.STOP, Phase.STOPPING, (Action.TERMINATE,)),
        (Event.EXITED, Phase.STOPPING, (Action.NOTE_END, Action.GIVE_UP, Action.CLEAR)),
        (Event.CRASHED, Phase.WAITING, (Action.NOTE_END, Action.PAUSE, Action.CLEAR)),
    ),
    Phase.STOPPING: _until_nothing_is_left(Phase.STOPPING),
    Phase.STUCK: _until_nothing_is_left(Phase.STUCK),
}


class StepRefusedError(HostError):
    """An event that has no row in the table for the state an instance is in; nothing was changed."""

    code = "step_refused"


@dataclass(frozen=True, slots=True)
class News:
    """What is known of an event beside its name.

    outcome: the launcher's line. pid, pidfd: a container's first process, and the descriptor that tells
    its end where it is not our child. why: its processes do not die.
    """

    keep_layers: bool = True
    grace_seconds: float = 0.0
    outcome: Mapping[str, Any] = field(default_factory=dict)
    pid: int = 0
    pidfd: int = -1
    exit_code: int = 0
    ran_seconds: float = 0.0
    why: str = ""


NO_NEWS = News()


def step_of(phase: Phase, event: Event, instance_id: str) -> KeeperStep:
    """Return the row of the table; StepRefusedError where there is none."""
    step = TABLE[phase].get(event)
    if step is None:
        remedy = "; stop it before it is forgotten" if event is Event.FORGET else ""
        raise StepRefusedError(
            f"{instance_id} is {phase}; there it takes {', '.join(TABLE[phase])}, and no {event}{remedy}"
        )
    return step


class Machine:
    """Carries the table out. changed: called after each step, which is written down before long."""

    def __init__(
        self,
        actions: Mapping[Action, Callable[[Supervised, News], None]],
        changed: Callable[[], None],
    ) -> None:
        self._actions = actions
        self._changed = changed

    def fire(self, kept: Supervised, event: Event, news: News = NO_NEWS) -> None:
        """Take an instance to its next state and act; StepRefusedError changes nothing.

        An action may fire the next event itself, so it is the last that looks at the instance.
        """
        step = step_of(kept.phase, event, kept.instance_id)
        if step.to is not kept.phase:
            # What was to happen later belongs to the state that is left.
            kept.drop_timer()
            if kept.phase is Phase.STUCK:
                kept.drop_note(TroubleKind.CANNOT_END)
        kept.phase = step.to
        self._changed()
        for action in step.actions:
            try:
                self._actions[action](kept, news)
            except Exception as error:  # noqa: BLE001 - said, and the rest is done: nobody waits in vain
                say(f"{kept.instance_id}: {action} failed: {error!r} {place_of(error)}")
