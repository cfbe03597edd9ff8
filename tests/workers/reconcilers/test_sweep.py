"""The sweep finds what nobody works on, and leaves alone what somebody does."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis
from django.db import connection
from django.db.models import Model, QuerySet
from django.db.models.functions import Now

from tenants.core import dispatch
from tenants.core.models import Alarm, ProgramBeat, Transition
from tenants.errors import WaitError
from tenants.operations import attempts, leases, line, operations
from tenants.operations.models import Operation
from tenants.placement.models import Decision
from tenants.pool.models import Edge, HostReport, JoinToken
from tenants.shops.models import Instance
from tests.workers.conftest import World
from workers.reconcilers import sweep


@pytest.fixture
def queue(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.delete(dispatch.CONTROL_QUEUE)
        yield client
        client.delete(dispatch.CONTROL_QUEUE)


def test_an_operation_whose_message_was_lost_is_handed_over(
    world: World, queue: redis.Redis
) -> None:
    world.sign_up()
    assert sweep.sweep() == "1 operations handed over again"
    assert queue.llen(dispatch.CONTROL_QUEUE) == 1


def test_an_operation_whose_worker_died_is_handed_over(world: World, queue: redis.Redis) -> None:
    operation = world.sign_up()
    leases.claim(operation.pk, owner="dead")
    assert sweep.sweep() == ""
    Operation.objects.update(lease_until=Now() - timedelta(seconds=1))
    assert sweep.sweep() == "1 operations handed over again"


def test_an_operation_that_waits_for_its_repeat_is_left_alone(
    world: World, queue: redis.Redis
) -> None:
    operation = world.sign_up()
    Operation.objects.filter(pk=operation.pk).update(run_after=Now() + timedelta(seconds=5))
    assert sweep.sweep() == ""


def test_the_line_is_hinted_at_and_those_who_wait_in_vain_are_tried_a_few_at_a_time(
    world: World, queue: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "MOST_AWAITING", 2)
    monkeypatch.setattr(sweep, "MOST_HINTS", 3)
    for number in range(5):
        world.sign_up(f"shop-{number}")
        waits = world.sign_up(f"waits-{number}")
        lease = leases.claim(waits.pk, owner="worker")
        assert lease is not None
        attempts.wait(lease, WaitError("a copy"))
    assert sweep.sweep() == "3 operations handed over again"  # of the line; the others are not due
    queue.delete(dispatch.CONTROL_QUEUE)
    Operation.objects.update(run_after=Now())
    assert sweep.sweep() == "5 operations handed over again"


def test_no_hint_is_given_while_every_slot_has_its_start(
    world: World, queue: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has a slot takes the next of the line himself: hints would only be work for nobody."""
    monkeypatch.setattr(sweep, "pool_slots", lambda: 2)
    for number in range(4):
        world.sign_up(f"shop-{number}")
    assert sweep.sweep() == "2 operations handed over again"
    first, second = (line.take(0, owner=f"worker {n}", slots=2) for n in range(2))
    assert first is not None
    assert second is not None
    assert sweep.sweep() == ""
    attempts.succeed(first)
    assert sweep.sweep() == "1 operations handed over again"


def test_a_call_to_stop_ends_the_pause(world: World, queue: redis.Redis) -> None:
    operation = world.sign_up()
    Operation.objects.update(run_after=Now() + timedelta(seconds=60))
    operations.cancel(operation)
    assert sweep.sweep() == "1 operations handed over again"


def test_what_waits_in_the_queue_is_not_piled_up(
    world: World, queue: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "MOST_WAITING", 3)
    for number in range(5):
        world.sign_up(f"shop-{number}")
    for _ in range(4):
        sweep.sweep()
    assert queue.llen(dispatch.CONTROL_QUEUE) == 3


def test_old_journals_are_thrown_away_and_new_ones_kept(world: World) -> None:
    world.live_tenant()
    assert sweep.tidy() == ""
    kept = Transition.objects.count()
    Transition.objects.create(
        subject="tenant",
        subject_id=1,
        old_state="a",
        new_state="b",
        reason="",
        at=Now() - timedelta(days=91),
    )
    instance = Instance.objects.get()
    Decision.objects.create(instance=instance, outcome="placed", at=Now() - timedelta(days=31))
    assert sweep.tidy() == "2 old rows thrown away"
    assert Transition.objects.count() == kept


def test_what_hosts_say_is_wrong_with_them_is_an_alarm_while_it_lasts(world: World) -> None:
    Edge.objects.update(seen_at=Now())
    HostReport.objects.update(
        seen_at=Now(), conditions=[{"kind": "disk_low", "message": "the store is 87 % full"}]
    )
    sweep.tidy()
    opened = Alarm.objects.filter(cleared_at=None).values_list("message", flat=True)
    assert list(opened) == ["host local: the store is 87 % full"]
    HostReport.objects.update(conditions=[])
    sweep.tidy()
    assert not Alarm.objects.filter(cleared_at=None).exists()


def test_silent_agents_raise_an_alarm_until_they_are_back(world: World) -> None:
    HostReport.objects.update(seen_at=Now() - timedelta(seconds=31))
    Edge.objects.update(seen_at=None)
    sweep.tidy()
    opened = Alarm.objects.filter(cleared_at=None).values_list("message", flat=True)
    assert set(opened) == {"host local does not report", "edge local does not report"}
    HostReport.objects.update(seen_at=Now())
    Edge.objects.update(seen_at=Now())
    sweep.tidy()
    assert not Alarm.objects.filter(cleared_at=None).exists()


# So few rows that nobody minds reading all of them: one for each process, one for each host that joined.
_SMALL = (ProgramBeat, JoinToken)


@pytest.mark.parametrize("journal", sweep.JOURNALS, ids=lambda one: str(one[0].model.__name__))
def test_what_is_thrown_away_is_found_by_an_index_that_begins_with_its_moment(
    db: None, journal: tuple[QuerySet[Model], str, timedelta]
) -> None:
    model, moment = journal[0].model, journal[1]
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    first = {one["columns"][0] for one in found.values() if one["index"] and one["columns"]}
    assert moment in first or model in _SMALL
