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

from tenants.models import Operation
from tenants.services.leases import CLAIMED, IS_FREE, TAKE_MINE, Lease, claim_by
from tenants.states import LINE_VERBS, PEOPLE_VERBS, URGENT_VERBS, OperationState, Verb

# One in so many starts under way is for people, while people wait.
PEOPLES_SHARE = 4


def _words(*verbs: str) -> str:
    return "(" + ", ".join(f"'{Verb(verb).value}'" for verb in verbs) + ")"


def _waiting(verbs: str) -> str:
    """SQL: who waits in a lane and is due. The state is a literal: only so is the lane's index used."""
    return f"""state = 'pending' AND is_in_line AND verb IN {verbs}
           AND run_after <= statement_timestamp()"""


def _somebody(verbs: str) -> str:
    # In order, so that the lane's index is used: an EXISTS may read the whole table for the first.
    return (
        f"SELECT id FROM tenants_operation WHERE {_waiting(verbs)} ORDER BY queued_at, id LIMIT 1"  # noqa: S608
    )


_URGENT, _PEOPLE = _words(*URGENT_VERBS), _words(*PEOPLE_VERBS)
_SLOW = _words(*URGENT_VERBS, Verb.MOVE)


def _next(lane: str, verbs: str) -> str:
    # The look at `lane` is one for the whole statement: nobody is locked in the lane that was not chosen.
    return f"""next_{lane} AS (
    SELECT {CLAIMED} FROM tenants_operation
     WHERE (SELECT name FROM lane) = '{lane}' AND {_waiting(verbs)}
     ORDER BY queued_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
)"""  # noqa: S608


# named: handed over by name: not of the line, called off, or left by a worker that died.
_TAKE = f"""
WITH named AS (
    SELECT {CLAIMED} FROM tenants_operation
     WHERE id = %(named)s AND {IS_FREE}
       AND (NOT is_in_line OR state = 'running' OR cancel_requested)
       AND (%(may_be_urgent)s OR verb NOT IN {_SLOW})
       FOR UPDATE SKIP LOCKED
), started AS (
    SELECT count(*) AS starts, count(*) FILTER (WHERE verb IN {_PEOPLE}) AS peoples
      FROM tenants_operation
     WHERE state = 'running' AND verb IN {_words(*LINE_VERBS)} AND lease_until > statement_timestamp()
), waiting AS (
    SELECT %(may_be_urgent)s AND ({_somebody(_URGENT)}) IS NOT NULL AS urgent,
           ({_somebody(_PEOPLE)}) IS NOT NULL AS people
), lane AS (
    SELECT CASE
           WHEN EXISTS (SELECT FROM named) OR starts >= %(slots)s THEN ''
           WHEN urgent AND NOT (people AND peoples * {PEOPLES_SHARE} < starts) THEN 'urgent'
           WHEN people THEN 'people'
           ELSE '' END AS name
      FROM started, waiting
), {_next("urgent", _URGENT)}, {_next("people", _PEOPLE)}, mine AS (
    SELECT * FROM named UNION ALL SELECT * FROM next_urgent UNION ALL SELECT * FROM next_people
), {TAKE_MINE}
"""  # noqa: S608


def take(operation_pk: int, *, owner: str, slots: int, may_be_urgent: bool = True) -> Lease | None:
    """The operation of this name where it is not one of the line, else whoever is next; None for nobody.

    operation_pk: 0 for whoever is next. may_be_urgent: whether the caller has a hand free for what the
    platform asks for itself, and which may take long.
    """
    chosen = {"named": operation_pk, "slots": slots, "may_be_urgent": may_be_urgent}
    return claim_by(_TAKE, chosen, owner=owner)


def due(most: int) -> list[int]:
    """The first in line of each lane that could be taken now: hints for workers, most of each."""
    return [
        pk
        for verbs in (URGENT_VERBS, PEOPLE_VERBS)
        for pk in _lane(verbs).order_by("queued_at", "pk").values_list("pk", flat=True)[:most]
    ]


def _lane(verbs: tuple[Verb, ...]) -> QuerySet[Operation]:
    return Operation.objects.filter(
        state=OperationState.PENDING,
        is_in_line=True,
        verb__in=verbs,
        run_after__lte=Now(),
        cancel_requested=False,
    )


def hosts_heard(fresh_seconds: int) -> int:
    """How many open hosts report, each of which has its start slots."""
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
