"""The line of starts: who is next, how many at once, and that nobody is left behind."""

from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from tenants.errors import SlotsTakenError
from tenants.operations import attempts, line
from tenants.operations.leases import Lease
from tenants.operations.models import Operation
from tenants.shops.signups import SignUp
from tenants.states import LINE_VERBS, OperationState, Verb
from tests.factories import make_shop, race

pytestmark = pytest.mark.django_db


def _shops(count: int, verb: str = Verb.PROVISION, prefix: str = "shop") -> list[SignUp]:
    made = [make_shop(f"{prefix}-{number}") for number in range(count)]
    Operation.objects.filter(pk__in=[one.operation.pk for one in made]).update(verb=verb)
    return made


def _take(slots: int = 8, named: int = 0, *, may_be_urgent: bool = True) -> Lease | None:
    return line.take(named, owner="worker", slots=slots, may_be_urgent=may_be_urgent)


def test_the_line_is_taken_in_its_order_whatever_message_comes_first() -> None:
    made = _shops(3)
    taken = [_take(named=made[2].operation.pk) for _ in range(3)]
    assert [lease and lease.operation_id for lease in taken] == [one.operation.pk for one in made]


def test_no_more_start_at_once_than_there_are_slots_and_the_next_when_one_is_free() -> None:
    made = _shops(4)
    leases = [_take(slots=2) for _ in range(4)]
    assert [lease is not None for lease in leases] == [True, True, False, False]
    assert leases[0] is not None
    attempts.succeed(leases[0])
    following = _take(slots=2)
    assert following is not None
    assert following.operation_id == made[2].operation.pk


@pytest.mark.parametrize("slots", [4, 8, 16])
def test_repairs_come_first_but_a_quarter_is_for_people_who_wait(slots: int) -> None:
    _shops(slots, prefix="person")
    _shops(slots, Verb.RECOVER, prefix="platform")
    taken = Counter(lease.verb for _ in range(slots) if (lease := _take(slots)) is not None)
    assert taken == {Verb.RECOVER: slots * 3 // 4, Verb.PROVISION: slots // 4}


def test_the_quarter_holds_while_slots_become_free_and_nobody_starves() -> None:
    _shops(20, prefix="person")
    _shops(20, Verb.REPAIR, prefix="platform")
    under_way = [_take(4) for _ in range(4)]
    ended: Counter[str] = Counter()
    while under_way:
        lease = under_way.pop(0)
        assert lease is not None
        ended[lease.verb] += 1
        attempts.succeed(lease)
        if (following := _take(4)) is not None:
            under_way.append(following)
    assert ended == {Verb.PROVISION: 20, Verb.REPAIR: 20}


def test_without_people_the_platform_has_every_slot_and_the_other_way_round() -> None:
    _shops(4, Verb.RECOVER)
    assert [lease and lease.verb for lease in (_take(4) for _ in range(4))] == [Verb.RECOVER] * 4
    Operation.objects.all().delete()
    _shops(4, prefix="person")
    assert [lease and lease.verb for lease in (_take(4) for _ in range(4))] == [Verb.PROVISION] * 4


def test_a_process_whose_hands_do_slow_work_takes_only_people() -> None:
    _shops(1, Verb.RECOVER, prefix="platform")
    person = _shops(1, prefix="person")[0]
    lease = _take(may_be_urgent=False)
    assert lease is not None
    assert lease.operation_id == person.operation.pk
    assert _take(may_be_urgent=False) is None


def test_who_found_its_host_busy_keeps_its_place() -> None:
    first, second = _shops(2)
    lease = _take()
    assert lease is not None
    attempts.wait(lease, SlotsTakenError("8 others are starting"))
    Operation.objects.update(run_after=Now())
    again, following = _take(), _take()
    assert again is not None
    assert following is not None
    assert [again.operation_id, following.operation_id] == [first.operation.pk, second.operation.pk]


@pytest.mark.parametrize("what", ["removal", "called off", "left by a worker"])
def test_what_needs_no_slot_is_taken_by_name_although_all_are_taken(what: str) -> None:
    _shops(1)
    named = make_shop("named").operation
    changes: dict[str, dict[str, object]] = {
        "removal": {"verb": Verb.REMOVE, "is_in_line": False},
        "called off": {"cancel_requested": True},
        "left by a worker": {
            "state": OperationState.RUNNING,
            "lease_until": Now() - timedelta(seconds=1),
        },
    }
    Operation.objects.filter(pk=named.pk).update(**changes[what])
    lease = _take(slots=0, named=named.pk)
    assert lease is not None
    assert lease.operation_id == named.pk


def test_a_slot_of_a_worker_that_died_is_free_when_its_lease_is_over() -> None:
    _shops(2)
    assert _take(1) is not None
    assert _take(1) is None
    Operation.objects.filter(state=OperationState.RUNNING).update(
        lease_until=Now() - timedelta(seconds=1)
    )
    assert _take(1) is not None


def test_every_verb_of_the_line_has_a_lane() -> None:
    for verb in LINE_VERBS:
        made = _shops(1, verb, prefix=verb)[0]
        lease = _take()
        assert lease is not None
        assert lease.operation_id == made.operation.pk


def test_ten_thousand_who_wait_cost_one_query_that_reads_a_few_of_them() -> None:
    made = make_shop()
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH tenant AS (
                   INSERT INTO tenants_tenant (public_id, slug, shop_name, language, plan_id, app_id, state,
                                               fence)
                   SELECT 'ten_x' || n, 'x' || n, 'x', 'en', plan_id, app_id, 'requested', 0
                     FROM tenants_tenant, generate_series(1, 10000) AS n WHERE slug = 'acme'
                   RETURNING id)
               INSERT INTO tenants_operation (public_id, tenant_id, instance_id, verb, arguments, state,
                   fence, lease_owner, deadline_at, waits, is_in_line, attempts,
                   max_attempts, cancel_requested, error_code, error_message)
               SELECT 'op_x' || tenant.id, tenant.id, %s, 'provision', '{}', 'pending', 0, '',
                      now() + interval '5 min', 0, TRUE, 0, 8, FALSE, '', ''
                 FROM tenant""",
            [made.operation.instance_id],
        )
        cursor.execute("ANALYZE tenants_operation")
    with CaptureQueriesContext(connection) as queries:
        assert _take() is not None
    assert len(queries) == 2  # a look, a claim
    with connection.cursor() as cursor:
        cursor.execute(
            "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) " + queries[0]["sql"].replace("%", "%%")
        )
        told = "\n".join(row[0] for row in cursor.fetchall())
    assert "line_of_people" in told
    assert "Seq Scan on tenants_operation" not in told, told


@pytest.mark.django_db(transaction=True)
def test_workers_that_ask_at_once_get_different_operations() -> None:
    made = _shops(6)
    leases = race(*(lambda: _take(slots=100) for _ in range(6)))
    found = {lease.operation_id for lease in leases if isinstance(lease, Lease)}
    # One that was beaten to the last of the line is told that nobody waits; the sweep asks again.
    assert found <= {one.operation.pk for one in made}
    assert len(found) == len([one for one in leases if one is not None])
    while (lease := _take(slots=100)) is not None:
        found.add(lease.operation_id)
    assert found == {one.operation.pk for one in made}
