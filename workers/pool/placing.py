"""Places many instances at once: decided together, booked together, written down together.

For a host's shops that must go elsewhere, or a thousand sign-ups. What other workers took meanwhile is
seen by the guard; those instances are decided again with the pool as it is then.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import IntegrityError

from tenants.placement import bulk
from tenants.placement.bookings import Booking
from tenants.placement.bulk import Wanted
from workers.pool import reader
from workers.scheduler import InstanceView
from workers.scheduler.place_batch import place_all

BATCH = 1000
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """An instance to be placed: its primary key, as the scheduler sees it, and what to book."""

    instance_id: int
    view: InstanceView
    booking: Booking


@dataclass(frozen=True, slots=True)
class Outcome:
    """placed: instances that have a place now. left: those that have none. refusals: why, host by host."""

    placed: frozenset[int]
    left: tuple[int, ...]
    refusals: tuple[str, ...] = ()
    is_unseen: bool = False


def reserve_all(
    asked: Sequence[Asked], *, reason: str, most_per_host: int | None = None
) -> Outcome:
    """Give every instance a place, in batches of one transaction each; repeat it after a kill.

    reason: why they are placed together, for the record. Instances that have a place already keep it.
    """
    placed: set[int] = set()
    refusals: tuple[str, ...] = ()
    is_unseen = False
    left = list(asked)
    for _ in range(ROUNDS):
        decided = place_all([one.view for one in left], reader.read(), most_per_host=most_per_host)
        refusals, is_unseen = decided.refusals, decided.is_unseen
        wanted = [
            Wanted(one.instance_id, host_id, one.booking, (f"{reason}, placed together",))
            for one, host_id in zip(left, decided.host_ids, strict=True)
            if host_id
        ]
        for start in range(0, len(wanted), BATCH):
            placed |= _reserved(wanted[start : start + BATCH])
        missed = {one.instance_id for one in wanted} - placed
        left = [one for one in left if one.instance_id not in placed]
        if not missed:
            break
    return Outcome(frozenset(placed), tuple(one.instance_id for one in left), refusals, is_unseen)


def _reserved(batch: Sequence[Wanted]) -> frozenset[int]:
    """Those that are placed now; one that was placed elsewhere this moment must not stop the others."""
    try:
        return bulk.reserve_many(batch)
    except IntegrityError:
        return frozenset().union(*(_alone(one) for one in batch))


def _alone(one: Wanted) -> frozenset[int]:
    try:
        return bulk.reserve_many([one])
    except IntegrityError:
        return frozenset({one.instance_id})
