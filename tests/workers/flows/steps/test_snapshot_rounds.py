"""Which shops are copied when: rounds that hand snapshots out, a few at a time."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from celery import current_app
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from runtime.errors import (
    TransferFailedError,
)
from tenants.core.models import Alarm
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.pool.models import Host, HostReport
from tenants.shops.models import Tenant
from tenants.snapshots import due as snapshot_rounds
from tenants.snapshots.models import Snapshot, SnapshotSchedule
from tenants.states import (
    HostState,
    OperationState,
    Verb,
)
from tests.workers.flows.pool import Pool
from workers.reconcilers import snapshots as rounds

pytestmark = pytest.mark.django_db

# Of one round that hands snapshots out, its lock and transactions included.
ROUND_QUERIES = 10


def due(pool: Pool) -> list[int]:
    found = snapshot_rounds.claim_due(10, of_one_host=2)
    return [one.tenant_pk for one in found]


def test_a_new_shop_is_copied_within_a_minute_one_from_before_within_its_period(pool: Pool) -> None:
    new, old = pool.shop("new"), [pool.shop(f"old-{number}") for number in range(5)]
    Tenant.objects.exclude(pk=new.tenant_id).update(created_at=Now() - timedelta(days=2))
    SnapshotSchedule.objects.exclude(tenant=new.tenant_id).delete()
    assert snapshot_rounds.enrol(10) == len(old)
    waits = {one.tenant_id: one.due_at - one.since for one in SnapshotSchedule.objects.all()}
    assert waits[new.tenant_id] <= timedelta(minutes=1)
    # All five within a minute of sixty: less than one run in seven hundred million.
    assert max(waits[one.tenant_id] for one in old) > timedelta(minutes=1)


def test_a_live_shop_is_enrolled_is_due_within_its_period_and_is_given_out_once(
    pool: Pool,
) -> None:
    instance = pool.shop()
    assert snapshot_rounds.enrol(10) == 0  # it was when it went live
    SnapshotSchedule.objects.all().delete()
    assert snapshot_rounds.enrol(10) == 1
    schedule = SnapshotSchedule.objects.get()
    assert timedelta(0) <= schedule.due_at - schedule.since <= timedelta(minutes=60)
    SnapshotSchedule.objects.update(due_at=Now())
    assert due(pool) == [instance.tenant_id]
    assert due(pool) == []
    assert rounds.take(instance.tenant_id, pool.clients) == "kept"
    schedule.refresh_from_db()
    assert schedule.taken_at is not None
    assert schedule.due_at - schedule.taken_at > timedelta(minutes=50)


def test_of_one_host_only_some_are_given_out_and_of_a_silent_one_none(pool: Pool) -> None:
    for number in range(4):
        pool.shop(f"shop-{number}")
    snapshot_rounds.enrol(10)
    SnapshotSchedule.objects.update(due_at=Now())
    assert len(due(pool)) == 2
    SnapshotSchedule.objects.update(due_at=Now())
    HostReport.objects.update(seen_at=Now() - timedelta(seconds=30))
    assert due(pool) == []


def test_a_first_copy_gives_way_longer_to_starts_on_its_host_and_is_not_lost(pool: Pool) -> None:
    first, later, asked = (pool.shop(slug) for slug in ("first", "later", "asked"))
    Host.objects.filter(name="local").update(state=HostState.CORDONED)
    elsewhere = pool.shop("elsewhere")
    Host.objects.filter(name="local").update(state=HostState.OPEN)
    assert pool.place(elsewhere) != "local"
    # One shop is being started on the first host, and somebody waits in the line behind it.
    restarted = pool.shop("restarted")
    assert {pool.place(one) for one in (first, later, asked, restarted)} == {"local"}
    start = operations.open_operation(restarted, Verb.REPAIR)
    Operation.objects.filter(pk=start.pk).update(state=OperationState.RUNNING)
    waiting = pool.world.sign_up("waiting")
    long_due = Now() - timedelta(seconds=rounds.GIVE_WAY_SECONDS + 1)
    SnapshotSchedule.objects.exclude(tenant=restarted.tenant_id).update(due_at=long_due)
    SnapshotSchedule.objects.filter(tenant=later.tenant_id).update(taken_at=Now())
    SnapshotSchedule.objects.filter(tenant=asked.tenant_id).update(due_at=Now(), is_asked=True)

    def claimed() -> set[int]:
        return {one.tenant_pk for _ in range(4) for one in rounds._claim(4)}

    mine = SnapshotSchedule.objects.filter(tenant=first.tenant_id)
    assert claimed() == {later.tenant_id, asked.tenant_id, elsewhere.tenant_id}
    mine.update(due_at=Now() - timedelta(seconds=rounds.FIRST_GIVES_WAY_SECONDS))
    assert claimed() == {first.tenant_id}  # however many still wait
    mine.update(due_at=Now())
    assert claimed() == set()
    Operation.objects.filter(pk=waiting.pk).update(is_in_line=False)
    assert claimed() == {first.tenant_id}


def test_whoever_is_done_goes_on_with_the_next_that_is_due(pool: Pool) -> None:
    shops = [pool.shop(f"shop-{number}") for number in range(5)]
    snapshot_rounds.enrol(10)
    SnapshotSchedule.objects.update(due_at=Now())
    (first,) = snapshot_rounds.claim_due(1, of_one_host=2)
    assert rounds.work(first.tenant_pk, pool.clients) == "5 kept"
    assert Snapshot.objects.filter(state="kept").count() == len(shops)


def test_a_shop_to_which_something_else_is_being_done_waits(pool: Pool) -> None:
    instance = pool.shop()
    snapshot_rounds.enrol(10)
    SnapshotSchedule.objects.update(due_at=Now())
    pool.ask(instance)
    assert due(pool) == []
    assert rounds.take(instance.tenant_id, pool.clients) == "busy"


def test_a_failure_is_tried_again_soon_and_raises_an_alarm_while_it_lasts(pool: Pool) -> None:
    instance = pool.shop()
    snapshot_rounds.enrol(10)
    SnapshotSchedule.objects.update(since=Now() - timedelta(hours=3))
    pool.drivers["local"].fail_next("save_volume", TransferFailedError("the depot is away"))
    assert rounds.take(instance.tenant_id, pool.clients) == "failed"
    schedule = SnapshotSchedule.objects.get()
    assert (schedule.failures, schedule.message) == (1, "the depot is away")
    rounds.tidy()
    alarm = Alarm.objects.get(key="snapshots.late")
    assert "1 shops have no snapshot for two periods: acme" in alarm.message
    assert "the depot is away" in alarm.message
    assert rounds.take(instance.tenant_id, pool.clients) == "kept"
    rounds.tidy()
    alarm.refresh_from_db()
    assert alarm.cleared_at is not None


@pytest.mark.parametrize("shops", [1, 4])
def test_a_round_asks_the_same_few_questions_however_many_shops_are_due(
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    django_assert_num_queries: Callable[[int], AbstractContextManager[object]],
    shops: int,
) -> None:
    settings.STOA_SNAPSHOTS_PER_HOST = 10
    sent: list[object] = []
    monkeypatch.setattr(current_app, "send_task", lambda *_args, **kwargs: sent.append(kwargs))
    for number in range(shops):
        pool.shop(f"shop-{number}")
    SnapshotSchedule.objects.update(due_at=Now())
    with django_assert_num_queries(ROUND_QUERIES):
        rounds.hand_out()
    assert len(sent) == shops


def test_copies_give_way_for_a_minute_while_people_wait_for_their_shops(pool: Pool) -> None:
    instance = pool.shop()
    SnapshotSchedule.objects.update(due_at=Now() - timedelta(seconds=50), is_asked=False)
    waiting = pool.world.sign_up("waiting")
    assert rounds._claim(1) == []
    SnapshotSchedule.objects.update(is_asked=True)  # somebody waits for this one too
    assert [one.tenant_pk for one in rounds._claim(1)] == [instance.tenant_id]
    SnapshotSchedule.objects.update(due_at=Now() - timedelta(seconds=61), is_asked=False)
    assert [one.tenant_pk for one in rounds._claim(1)] == [instance.tenant_id]
    SnapshotSchedule.objects.update(due_at=Now() - timedelta(seconds=50))
    Operation.objects.filter(pk=waiting.pk).update(is_in_line=False)
    assert [one.tenant_pk for one in rounds._claim(1)] == [instance.tenant_id]
