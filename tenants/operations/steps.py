"""The steps of every verb: what people read, how long each may take, and where a cancel is still heard.

workers/flows binds to each phase what the step does. Nothing of this table is written again there, and
a phase that one side does not know ends the import. An operation's `phase` is the furthest step that it
has begun (operations/leases.py). From it a worker continues, and it says what can still be called off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

from tenants.operations.time_limits import (
    ACCEPT_SECONDS,
    CHECK_SECONDS,
    FETCH_SECONDS,
    MOST_COPIES,
    QUIET_SECONDS,
    ROUTE_SECONDS,
    START_SECONDS,
    STOP_SECONDS,
    TURN_SECONDS,
    VOLUME_SECONDS,
)
from tenants.states import PLATFORM_VERBS, Verb


@dataclass(frozen=True, slots=True)
class StepFacts:
    """One step of a verb.

    phase: its own name in the record. name: what people see; steps of one name follow each other.
    seconds: the longest that it may take when all goes well, one call after another.
    is_cancellable: whether a cancel is heard while this is the furthest step.
    again_from: the phase from which another try goes on; the step itself where it is not given.
    is_tried_once: it goes back at once instead of another try, since a shop stands still meanwhile.
    is_pivot: from here on nothing before it is undone. So nothing from here on can be called off (check).
    """

    phase: str
    name: str
    seconds: float
    is_cancellable: bool = True
    again_from: str = ""
    is_tried_once: bool = False
    is_pivot: bool = False


_SAVE = _LOAD = VOLUME_SECONDS + ACCEPT_SECONDS
_START, _STOP = START_SECONDS + ACCEPT_SECONDS, STOP_SECONDS + ACCEPT_SECONDS
_FETCH = FETCH_SECONDS + ACCEPT_SECONDS
_HOLD = TURN_SECONDS + ROUTE_SECONDS + QUIET_SECONDS

# The host may be another one at each try, and a shop may have ended: all is looked at again.
_BRING_UP = (
    StepFacts("place", "place", 0),
    StepFacts("start", "start", _START, again_from="place"),
    StepFacts("route", "route", ROUTE_SECONDS, again_from="place"),
    StepFacts("check", "check", CHECK_SECONDS, again_from="place"),
)

STEPS: dict[str, tuple[StepFacts, ...]] = {
    Verb.PROVISION: _BRING_UP,
    Verb.REPAIR: _BRING_UP,
    # Half a shop is none: what has begun to be removed can only be removed.
    Verb.REMOVE: (
        StepFacts("unroute", "unroute", ROUTE_SECONDS, is_cancellable=False),
        StepFacts("stop", "stop", _STOP, is_cancellable=False, again_from="unroute"),
        StepFacts("clean", "clean", _STOP, is_cancellable=False, again_from="unroute"),
    ),
    Verb.RECOVER: (
        StepFacts("place", "place", _STOP),
        StepFacts("load", "load", _STOP + _LOAD, again_from="place"),
        # The place has switched: there is nothing to go back to.
        StepFacts(
            "start", "start", _START, is_cancellable=False, again_from="place", is_pivot=True
        ),
        StepFacts("route", "route", ROUTE_SECONDS, is_cancellable=False, again_from="place"),
        StepFacts("check", "check", CHECK_SECONDS, is_cancellable=False, again_from="place"),
    ),
    Verb.MOVE: (
        StepFacts("place", "place", 0),
        StepFacts("copy", "copy", _FETCH + MOST_COPIES * (_SAVE + _LOAD)),
        StepFacts("hold", "hold", _HOLD, again_from="copy"),
        StepFacts("stop", "carry", _STOP, is_cancellable=False, is_tried_once=True),
        StepFacts(
            *("carry", "carry", _SAVE + _LOAD),
            is_cancellable=False,
            again_from="stop",
            is_tried_once=True,
        ),
        StepFacts("start", "resume", _START, is_cancellable=False, is_tried_once=True),
        StepFacts(
            "open", "open", ROUTE_SECONDS + CHECK_SECONDS, is_cancellable=False, is_pivot=True
        ),
        StepFacts("clear", "clear", QUIET_SECONDS + _STOP, is_cancellable=False, is_pivot=True),
    ),
    # The way back is part of it: the newer data is loaded again, and the shop started on it.
    Verb.RESTORE: (
        StepFacts("safeguard", "safeguard", _SAVE),
        StepFacts("hold", "hold", _HOLD, again_from="safeguard"),
        StepFacts("stop", "restore", _STOP, is_cancellable=False, is_tried_once=True),
        StepFacts(
            "secure", "restore", _SAVE, is_cancellable=False, again_from="stop", is_tried_once=True
        ),
        StepFacts(
            "load", "restore", _LOAD, is_cancellable=False, again_from="stop", is_tried_once=True
        ),
        StepFacts(
            *("start", "resume", _START + _STOP + 2 * _LOAD + _START),
            is_cancellable=False,
            is_tried_once=True,
        ),
        StepFacts(
            "check", "check", ROUTE_SECONDS + CHECK_SECONDS, is_cancellable=False, is_pivot=True
        ),
    ),
}


def check(verb: str, table: Sequence[StepFacts]) -> None:
    """Raise ValueError for a table whose cancels, names or other tries cannot be carried out.

    An operation that is called off goes back, so there must be something to go back to. There is nothing
    from the pivot on, nor after a step that cannot be called off.
    """
    seen, too_late = list[str](), ""
    for step in table:
        if step.phase in seen:
            raise ValueError(f"{verb}: two steps have the phase {step.phase!r}; give each its own")
        seen.append(step.phase)
        if step.is_pivot or not step.is_cancellable:
            too_late = too_late or step.phase
        if too_late and step.is_cancellable:
            raise ValueError(
                f"{verb}: {step.phase!r} has is_cancellable=True, but from {too_late!r} on there is nothing"
                " to go back to; set it to False"
            )
        if step.again_from and step.again_from not in seen:
            raise ValueError(
                f"{verb}: {step.phase!r} has again_from={step.again_from!r}, which is no step before it"
            )
    shown = [step.name for step in table]
    if sorted(shown, key=shown.index) != shown:
        raise ValueError(f"{verb}: steps of one name follow each other, not so in {shown}")


for _verb, _table in STEPS.items():
    check(_verb, _table)


def names(verb: str) -> tuple[str, ...]:
    """Return what people see of a verb's steps, in order."""
    return tuple(dict.fromkeys(step.name for step in STEPS[verb]))


def phases(verb: str) -> tuple[str, ...]:
    """Return the phases of a verb's steps, in order."""
    return tuple(step.phase for step in STEPS[verb])


def at(verb: str, phase: str) -> StepFacts:
    """Return the step of a phase; the first for "", of an operation that nobody has begun."""
    if not phase:
        return STEPS[verb][0]
    found = next((step for step in STEPS[verb] if step.phase == phase), None)
    if found is None:
        raise ValueError(f"{verb} has no step of the phase {phase!r} (tenants/operations/steps.py)")
    return found


def may_steer(verb: str, *, is_operator: bool) -> bool:
    """Return whether somebody may stop a verb's operations, and repeat those that failed: one right, not two.

    What the platform does to keep shops running is its operators' alone.
    """
    return is_operator or verb not in PLATFORM_VERBS


def may_be_stopped(verb: str, phase: str, unwind_code: str) -> bool:
    """Return whether an open operation can be called off still: it goes forward, and has not come too far."""
    return at(verb, phase).is_cancellable and not unwind_code


def deadline_of(verb: str) -> timedelta:
    """Return how long an operation may take from when it is asked for, or tried again.

    Its longest calls, and OPERATION_DEADLINE_SECONDS beside for waiting hands and repeats. A deadline
    is no patience: it only ends what nobody works on any more.
    """
    calls = sum(step.seconds for step in STEPS[verb])
    return timedelta(seconds=settings.OPERATION_DEADLINE_SECONDS + calls)
