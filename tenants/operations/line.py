"""The line of starts: who is next when a start slot is free.

What starts a shop (LINE_VERBS) is not worked on in the order in which messages happen to come. Whoever is
free takes the next of the line: recoveries and repairs first, but a quarter of what is under way is for
people who wait (sign-ups, restores they asked for). Starts are bounded: `slots` at once in the whole pool.
Who found every host with room busy keeps its place (tenants.errors.SlotsTakenError).

A message is only a hint that there is something to do; one that is lost costs time until the sweep.
"""

from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from tenants.operations.leases import CLAIMED, IS_FREE, TAKE_MINE, Lease, claim, claim_by
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.states import (
    LINE_VERBS,
    OPEN_OPERATION_STATES,
    PEOPLE_VERBS,
    SLOW_VERBS,
    URGENT_VERBS,
    OperationState,
    Verb,
)

# One in so many starts under way is for people, while people wait.
PEOPLES_SHARE = 4


def _words(*verbs: str) -> str:
    return "(" + ", ".join(f"'{Verb(verb).value}'" for verb in verbs) + ")"


def _waiting(verbs: str) -> str:
    """SQL: who waits in a lane and is due. The state is a literal: only so is the lane's index used."""
    return f"""state = 'pending' AND is_in_line AND verb IN {verbs}
           AND run_after <= statement_timestamp()"""


_URGENT, _PEOPLE = _words(*URGENT_VERBS), _words(*PEOPLE_VERBS)
_SLOW = _words(*SLOW_VERBS)
# Whoever claims takes the first of these that nobody else has taken by then.
_LOOKED_AT = 16


def _first(verbs: str) -> str:
    # In order, so that the lane's index is used: without it the whole table may be read for the first.
    return f"""ARRAY(SELECT id FROM tenants_operation WHERE {_waiting(verbs)}
                      ORDER BY queued_at, id LIMIT {_LOOKED_AT})"""  # noqa: S608


# First: operations handed over by name, not of the line; those called off, or left by a worker.
_LOOK = f"""
SELECT (SELECT id FROM tenants_operation
         WHERE id = %(named)s AND {IS_FREE}
           AND (NOT is_in_line OR state = 'running' OR cancel_requested)
           AND (%(may_be_urgent)s OR verb NOT IN {_SLOW})),
       started.*, {_first(_URGENT)}, {_first(_PEOPLE)}
  FROM (SELECT count(*), count(*) FILTER (WHERE verb IN {_PEOPLE})
          FROM tenants_operation
         WHERE state = 'running' AND verb IN {_words(*LINE_VERBS)}
           AND lease_until > statement_timestamp()) AS started
"""  # noqa: S608
_CLAIM_FIRST = f"""
WITH mine AS (
    SELECT {CLAIMED} FROM tenants_operation
     WHERE id = ANY(%(first)s) AND is_in_line AND {IS_FREE}
     ORDER BY queued_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
), {TAKE_MINE}
"""  # noqa: S608


def take(operation_pk: int, *, owner: str, slots: int, may_be_urgent: bool = True) -> Lease | None:
    """Claim the named operation if it does not wait in the line, else the next one; None if there is none.

    operation_pk: 0 for the next one. may_be_urgent: whether the caller has a hand free for what the
    platform asks for itself, and which may take long.
    """
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                _LOOK,
                {
                    "named": operation_pk,
                    "may_be_urgent": may_be_urgent,
                    "open": tuple(OPEN_OPERATION_STATES),
                },
            )
            named, starts, peoples, urgent, people = cursor.fetchone()
        if named is not None:
            return claim(named, owner=owner)
        lane = _lane_of(starts, peoples, urgent if may_be_urgent else [], people, slots)
        if not lane:
            return None
        lease = claim_by(_CLAIM_FIRST, {"first": lane}, owner=owner)
        if lease is not None or len(lane) < _LOOKED_AT:
            return lease


def _lane_of(
    starts: int, peoples: int, urgent: list[int], people: list[int], slots: int
) -> list[int]:
    """Return the lane whose turn it is, [] for none: its first operations."""
    if starts >= slots:
        return []
    if urgent and not (people and peoples * PEOPLES_SHARE < starts):
        return urgent
    return people


def takeable(slots: int, *, most: int) -> int:
    """Return how many in line could be taken now, at most `most`: none while every slot has its start."""
    started = Operation.objects.filter(
        state=OperationState.RUNNING, verb__in=LINE_VERBS, lease_until__gt=Now()
    )
    free = min(slots - started.count(), most)
    if free <= 0:
        return 0
    waiting = sum(_lane(verbs)[:free].count() for verbs in (URGENT_VERBS, PEOPLE_VERBS))
    return min(free, waiting)


def do_people_wait() -> bool:
    """Return whether somebody is in the people's lane, and due."""
    return _lane(PEOPLE_VERBS).exists()


def hosts_starting() -> list[int]:
    """Return the hosts on which shops are being started just now, by id."""
    rows = Placement.objects.filter(
        until__isnull=True,
        instance__operations__state=OperationState.RUNNING,
        instance__operations__verb__in=LINE_VERBS,
    )
    return list(rows.order_by("host_id").values_list("host_id", flat=True).distinct())


def _lane(verbs: tuple[Verb, ...]) -> QuerySet[Operation]:
    return Operation.objects.filter(
        state=OperationState.PENDING,
        is_in_line=True,
        verb__in=verbs,
        run_after__lte=Now(),
        cancel_requested=False,
    )


def hosts_heard(fresh_seconds: int) -> int:
    """Return how many open hosts report, each of which has its start slots."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*) FROM tenants_hostreport AS report
                 JOIN tenants_host AS host ON host.id = report.host_id
                WHERE host.state = 'open' AND host.health = 'alive'
                  AND report.seen_at > statement_timestamp() - %s * interval '1 second'""",
            [fresh_seconds],
        )
        count: int = cursor.fetchone()[0]
    return count
