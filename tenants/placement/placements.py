"""Books room on hosts, and gives it back.

A reservation is one guarded UPDATE of the host's row: never on metrics alone, never by reading first.
"""

from django.db import connection, transaction
from django.db.models.functions import Now

from tenants.core import metrics
from tenants.errors import StateConflictError
from tenants.placement import bookings
from tenants.placement.bookings import Booking
from tenants.placement.models import Decision, Placement, PortQuarantine
from tenants.pool.models import Edge, HostReport
from tenants.shops.models import Instance
from tenants.transfers.models import Move


def booking_of(placement: Placement | Move) -> Booking:
    """Return what is booked for the placement, or by a move beside it."""
    return Booking(
        placement.cpu_millis,
        placement.memory_bytes,
        placement.disk_bytes,
        tuple(placement.shape),
    )


def open_placement(instance: Instance) -> Placement | None:
    """Return where the instance is now, with its host; a repeat of a flow starts from this."""
    return (
        Placement.objects.filter(instance=instance, until__isnull=True)
        .select_related("host")
        .first()
    )


@transaction.atomic(savepoint=False)
def reserve(
    instance: Instance, host_id: int, booking: Booking, *, reasons: list[str]
) -> Placement | None:
    """Book room and a port on the host, write the placement and keep the decision with its reasons.

    None when the host has no room or port left by now: walk on to the next candidate.
    """
    placed = bookings.place(instance.pk, host_id, booking, reasons=reasons)
    if placed is not None:
        transaction.on_commit(metrics.PLACEMENTS.labels("start").inc)
        seat, pk = placed
        return Placement(
            pk=pk,
            instance=instance,
            host=seat.host,
            port=seat.port,
            cpu_millis=booking.cpu_millis,
            memory_bytes=booking.memory_bytes,
            disk_bytes=booking.disk_bytes,
            shape=list(booking.shape),
            reasons=reasons,
        )
    # Without room, or with no port that was never used: only the second can be helped.
    reused = bookings.book_used(host_id, booking)
    if reused is None:
        return None
    transaction.on_commit(metrics.PLACEMENTS.labels("start").inc)
    Decision.objects.create(
        instance=instance, host_name=reused.host.name, outcome="placed", reasons=reasons
    )
    return Placement.objects.create(
        instance=instance,
        host=reused.host,
        port=reused.port,
        cpu_millis=booking.cpu_millis,
        memory_bytes=booking.memory_bytes,
        disk_bytes=booking.disk_bytes,
        shape=list(booking.shape),
        reasons=reasons,
    )


@transaction.atomic
def release(placement: Placement, *, hostname: str, waiting_for: list[str]) -> None:
    """Close the placement, give its booking back, and put its port into quarantine.

    waiting_for: edges that have not yet acknowledged the withdrawal of hostname. Idempotent.
    """
    # Locked and read again: what is booked for it may have changed since the caller read it.
    held = (
        Placement.objects.select_for_update(of=("self",))
        .filter(pk=placement.pk, until=None)
        .first()
    )
    if held is None:
        return
    # What it was booked at by the hour is of no interest any more, and the largest part of the row.
    Placement.objects.filter(pk=held.pk).update(until=Now(), shape=[])
    give_back(held.host_id, held.port, booking_of(held), hostname=hostname, waiting_for=waiting_for)


@transaction.atomic(savepoint=False)
def change_port(placement: Placement, *, hostname: str) -> bool:
    """Give the placement another port of its host: somebody the record does not place there has this one.

    False, changing nothing, when the host has none. Edges may still lead to the old one.
    """
    port = exchange_port(
        placement.host_id,
        placement.port,
        placement.instance,
        hostname=hostname,
        waiting_for=list(Edge.objects.values_list("name", flat=True)),
    )
    if port is None:
        return False
    mine = Placement.objects.filter(pk=placement.pk, until=None, port=placement.port)
    if mine.update(port=port) != 1:
        raise StateConflictError(f"{placement.instance.public_id} is no longer at its place")
    placement.port = port
    return True


def exchange_port(
    host_id: int, port: int, instance: Instance, *, hostname: str, waiting_for: list[str]
) -> int | None:
    """Another port of the host for the instance, the old one put into quarantine; None when it has none.

    Passes over what the host's last report names as held. The caller writes down who has it now.
    """
    held = {port, *_ports_told(host_id, but=instance)}
    found = bookings.another_port(host_id, held=held)
    if found is not None:
        _rest(host_id, port, hostname=hostname, waiting_for=waiting_for)
    return found


def _ports_told(host_id: int, *, but: Instance) -> set[int]:
    """Return the ports in the host's last report, without the instance's own."""
    found = HostReport.objects.filter(host_id=host_id).values_list("inventory", flat=True).first()
    return {
        entry["published_port"]
        for entry in found or ()
        if isinstance(entry, dict)
        and entry.get("instance_id") != but.public_id
        and type(entry.get("published_port")) is int
    }


@transaction.atomic(savepoint=False)
def give_back(
    host_id: int, port: int, booking: Booking, *, hostname: str, waiting_for: list[str]
) -> None:
    """Undo bookings.book and put the port into quarantine; the caller has seen to it that it happens once."""
    bookings.unbook(host_id, booking)
    _rest(host_id, port, hostname=hostname, waiting_for=waiting_for)


def _rest(host_id: int, port: int, *, hostname: str, waiting_for: list[str]) -> None:
    """Put a port into quarantine."""
    PortQuarantine.objects.update_or_create(
        host_id=host_id,
        port=port,
        defaults={"hostname": hostname, "waiting_for": waiting_for, "released_at": Now()},
    )


# Also those that were removed from the record: what they held goes nowhere.
_CAUGHT_UP = """
UPDATE tenants_portquarantine AS port
   SET waiting_for = (
       SELECT COALESCE(jsonb_agg(edge.name), '[]'::jsonb)
         FROM tenants_edge AS edge
        WHERE port.waiting_for ? edge.name
          AND NOT (edge.is_synced AND edge.seen_at > statement_timestamp() - interval '10 seconds'
                   AND edge.applied_sequence >= route.sequence))
  FROM tenants_route AS route
 WHERE route.hostname = port.hostname AND port.waiting_for <> '[]'::jsonb
"""


def forget_caught_up_edges() -> None:
    """No longer wait for edges that report to hold every change up to the withdrawal, or that are gone."""
    with connection.cursor() as cursor:
        cursor.execute(_CAUGHT_UP)
