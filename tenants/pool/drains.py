"""Emptying a host: asked for and called off here, driven forward by workers/reconcilers/drains.py."""

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from tenants.accounts.models import Member
from tenants.core.transitions import journal
from tenants.errors import NoRoomError, StateConflictError
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.pool.fitting import Fit, look
from tenants.pool.models import Drain, Host
from tenants.states import OPEN_OPERATION_STATES, DrainState, HostHealth, HostState, Verb
from tenants.transfers.models import Move

_DRAINABLE = (HostState.OPEN, HostState.CORDONED)


@transaction.atomic
def request(host: Host, *, requested_by: Member | None = None) -> Drain:
    """Begin to empty the host: nothing new is placed there, and what it holds moves to others.

    Raises NoRoomError with the numbers when the rest of the pool has no room for all of it, and
    StateConflictError when the host is being drained already.
    """
    host = Host.objects.select_for_update().get(pk=host.pk)
    if host.state not in _DRAINABLE:
        raise StateConflictError(f"host {host.name} is {host.state}; it cannot be drained now")
    if host.health == HostHealth.LOST:
        raise StateConflictError(
            f"host {host.name} is lost; its shops are brought back elsewhere without it"
        )
    found = look(host)
    if not found.is_whole:
        raise NoRoomError(refusal(host, found), field="host")
    _set_state(host, HostState.DRAINING, reason="an operator drains it")
    try:
        with transaction.atomic():
            return Drain.objects.create(
                host=host,
                total=found.count,
                was_cordoned=host.state == HostState.CORDONED,
                requested_by=requested_by,
            )
    except IntegrityError as error:
        raise StateConflictError(f"host {host.name} is being drained already") from error


@transaction.atomic
def cancel(drain: Drain, *, cancelled_by: Member | None = None) -> None:
    """Stop emptying the host; what has moved stays where it is.

    The host takes new shops again, unless it was closed to them before the drain was asked for.
    Moves that have not come to the stop yet are undone, the others go on to their end.
    Raises StateConflictError when it has ended already.
    """
    ended = Drain.objects.filter(pk=drain.pk, state=DrainState.RUNNING).update(
        state=DrainState.CANCELLED, ended_at=Now()
    )
    if not ended:
        raise StateConflictError("this drain has ended")
    host = Host.objects.select_for_update().get(pk=drain.host_id)
    who = cancelled_by.email if cancelled_by else "a program"
    before = HostState.CORDONED if drain.was_cordoned else HostState.OPEN
    _set_state(host, before, reason=f"{who} stopped the drain")
    for operation in open_moves(drain):
        try:
            with transaction.atomic():
                operations.cancel(operation)
        except StateConflictError:
            continue  # it has ended meanwhile


@transaction.atomic
def finish(drain: Drain) -> bool:
    """Record that the host is empty; it stays closed to new shops. Whether this call did it."""
    ended = Drain.objects.filter(pk=drain.pk, state=DrainState.RUNNING).update(
        state=DrainState.DONE, ended_at=Now()
    )
    if ended:
        host = Host.objects.select_for_update().get(pk=drain.host_id)
        _set_state(host, HostState.CORDONED, reason="emptied")
    return bool(ended)


def open_drain(host: Host) -> Drain | None:
    """Return the drain that empties this host now."""
    return Drain.objects.filter(host=host, state=DrainState.RUNNING).first()


def open_moves(drain: Drain) -> list[Operation]:
    """Return the drain's operations that are under way."""
    return list(
        Operation.objects.filter(
            verb=Verb.MOVE, state__in=OPEN_OPERATION_STATES, arguments__drain=drain.pk
        )
    )


def refusal(host: Host, found: Fit) -> str:
    """Return why a host cannot be emptied now, with the numbers."""
    missing = found.missing
    return (
        f"{found.fitting} of the {found.count} shops on {host.name} have room on other open hosts; "
        f"the rest are booked at {missing.cpu_millis / 1000:.1f} cores, "
        f"{missing.memory_bytes / 2**20:,.0f} MiB of memory and {missing.disk_bytes / 2**20:,.0f} MiB "
        "of storage. Add a host, or open one that is closed"
    )


def has_moves_at(host: Host) -> bool:
    """Return whether anything on its way still has a place on the host, whichever way it goes."""
    at_source = Move.objects.filter(source=host, ended_at__isnull=True)
    at_target = Move.objects.filter(target=host, ended_at__isnull=True).exclude(is_switched=True)
    return at_source.exists() or at_target.exists()


def _set_state(host: Host, state: str, *, reason: str) -> None:
    changed = Host.objects.filter(pk=host.pk, state=host.state).update(state=state)
    if changed != 1:
        raise StateConflictError(f"host {host.name} is no longer {host.state}")
    journal("host", host.pk, host.state, state, reason=reason)
