"""What may come between: each begins at one point of a flow, and ends by itself some rounds later."""

from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import OperationalError
from django.db.models.functions import Now

from runtime.errors import OutcomeUnknownError
from tenants.errors import StateConflictError
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.shops import removals
from tenants.states import OPEN_OPERATION_STATES
from tests.support.memory_repository import HELD
from tests.support.working import work
from tests.workers.flows.kills.outside import LOOKS
from tests.workers.flows.kills.stage import Prepared

# How many rounds of the workers a part stays away.
ROUNDS = 3


class KilledError(BaseException):
    """The worker's process is gone: nothing of it runs on, not even an `except Exception`."""


@dataclass
class Trouble:
    """One disturbance of one case, and what came of asking for it."""

    prepared: Prepared
    operation: Operation
    is_database_gone: bool = False
    is_cancel_heard: bool | None = None
    removal: Operation | None = None
    lose_nth: int = 0
    notes: list[str] = field(default_factory=list)


def repeat(trouble: Trouble, when: str) -> None:
    """The worker is killed; another one goes on."""
    raise KilledError


def cancel(trouble: Trouble, when: str) -> None:
    """Somebody asks the operation to stop."""
    try:
        operations.cancel(trouble.operation)
    except StateConflictError:
        trouble.is_cancel_heard = False
    else:
        trouble.is_cancel_heard = True


def removal(trouble: Trouble, when: str) -> None:
    """The shop is removed to its end while this worker sleeps; then it wakes up and goes on."""
    prepared = trouble.prepared
    if trouble.removal is None:
        trouble.removal = removals.request(prepared.stage.tenant)
        for _ in range(3):
            work(trouble.removal.pk, prepared.outside.clients)
        trouble.removal.refresh_from_db()


def taken_over(trouble: Trouble, when: str) -> None:
    """The worker sleeps past its lease. Another one ends the operation. Then the worker wakes up."""
    _another(trouble, goes=3)


def both_at_it(trouble: Trouble, when: str) -> None:
    """The worker sleeps past its lease and wakes up when another one has made a call. A third goes on."""
    outside, rest = trouble.prepared.outside, iter((None,))

    def kill_at_the_second(_who: str, call: str) -> None:
        if call not in LOOKS and next(rest, KilledError) is KilledError:
            raise KilledError

    outside.before = kill_at_the_second
    try:
        _another(trouble, goes=1)
    except KilledError:
        trouble.notes.append("the other one was killed")
    finally:
        outside.before = lambda _who, _call: None


def _another(trouble: Trouble, *, goes: int) -> None:
    """Another worker takes the operation, since nobody has renewed its lease."""
    for _ in range(goes):
        Operation.objects.filter(pk=trouble.operation.pk, state__in=OPEN_OPERATION_STATES).update(
            lease_until=None, run_after=Now()
        )
        work(trouble.operation.pk, trouble.prepared.outside.clients)


def answer_lost(trouble: Trouble, when: str) -> None:
    """A call does its work, and its answer does not come: the act's first (before) or last (after), or
    the one that the row is about. Armed by the harness, which counts calls.
    """


def host_silent(trouble: Trouble, when: str) -> None:
    """The host that is asked next cannot be reached for a while."""
    weather = trouble.prepared.outside.weather
    weather.is_next_silent, weather.rounds = True, ROUNDS


def repository_away(trouble: Trouble, when: str) -> None:
    """The repository is away for a while."""
    HELD.is_away = True
    trouble.prepared.outside.weather.rounds = ROUNDS


def edge_silent(trouble: Trouble, when: str) -> None:
    """The edge takes no routes and gives no answers for a while."""
    weather = trouble.prepared.outside.weather
    weather.is_edge_silent, weather.rounds = True, ROUNDS


def database_gone(trouble: Trouble, when: str) -> None:
    """The database is away until this worker has given up."""
    trouble.is_database_gone = True
    raise OperationalError("server closed the connection unexpectedly")


def broker_gone(trouble: Trouble, when: str) -> None:
    """The broker is away for a while; the answer to a call that is under way is lost with it."""
    outside = trouble.prepared.outside
    outside.weather.rounds = ROUNDS
    if when == "before":
        outside.weather.is_broker_gone = True
        return

    def gone(who: str, call: str) -> None:
        outside.weather.is_broker_gone = True
        outside.after = lambda _who, _call: None
        outside.note_broker()
        raise OutcomeUnknownError("the broker went away: connection refused")

    outside.after = gone


DISTURBANCES: dict[str, Callable[[Trouble, str], None]] = {
    one.__name__: one
    for one in (
        *(repeat, cancel, removal, taken_over, both_at_it, answer_lost, host_silent),
        *(repository_away, edge_silent, database_gone, broker_gone),
    )
}
