"""A shop whose data is missing is not started; it is told, chosen for and found again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tenants.activity.models import InstanceEvent
from tenants.core.models import Alarm
from tenants.errors import FieldError, OperationOpenError, StateConflictError
from tenants.operations import operations
from tenants.operations.models import Operation, Step
from tenants.shops.models import Instance
from tenants.snapshots.models import Snapshot
from tenants.states import (
    DataChoice,
    EventKind,
    InstanceState,
    OperationState,
    SnapshotState,
    Verb,
)
from tenants.transfers import missing_data
from tenants.transfers.models import Move
from tests.workers.flows.losses import (
    KilledError,
    arm,
    bring_back,
    choose,
    copied,
    lose_host,
    lose_volume,
    missing_shop,
    report,
    volume_of,
    watch,
)
from tests.workers.flows.pool import Pool
from workers.flows.steps import volumes
from workers.reconcilers import instances
from workers.reconcilers import missing_data as rounds

pytestmark = pytest.mark.django_db


# Said, and left alone -------------------------------------------------------------------------------


def test_a_volume_that_is_gone_is_told_once_and_no_repair_is_opened_again(pool: Pool) -> None:
    empty = watch(pool)
    instance, _ = missing_shop(pool)
    assert instance.state == InstanceState.DATA_MISSING
    assert pool.place(instance) == "local"
    told = InstanceEvent.objects.get(kind=EventKind.DATA_MISSING)
    assert "is not on this host" in told.details["reason"]
    for _ in range(3):
        Operation.objects.update(finished_at="2020-01-01T00:00:00Z")
        report(pool)
        assert instances.carry_out(pool.clients.driver_for) == ""
        rounds.carry_out(pool.clients.driver_for)
    assert Operation.objects.filter(verb=Verb.REPAIR).count() == 1
    alarm = Alarm.objects.get(key="data.missing", cleared_at=None)
    assert alarm.message.startswith("1 shops are not started because their data is missing")
    assert "stoa tenants data" in alarm.message
    assert empty == []


def test_a_volume_that_comes_back_is_started_by_itself_and_the_alarm_closes(pool: Pool) -> None:
    instance, content = missing_shop(pool)
    rounds.carry_out(pool.clients.driver_for)
    bring_back(pool, instance, content)
    assert rounds.carry_out(pool.clients.driver_for) == "1 shops have their data again"
    assert pool.settle(Operation.objects.latest("pk")) == "succeeded"
    assert pool.orders("local", instance) == {"first", "late"}
    rounds.carry_out(pool.clients.driver_for)
    assert not Alarm.objects.filter(key="data.missing", cleared_at=None).exists()
    kinds = InstanceEvent.objects.filter(kind__startswith="data").order_by("pk")
    assert [one.kind for one in kinds] == [EventKind.DATA_MISSING, EventKind.DATA_BACK]


def test_how_many_shops_wait_costs_the_same_questions(
    pool: Pool, django_assert_max_num_queries: Callable[..., object]
) -> None:
    for slug in ("one", "two", "three"):
        instance = pool.shop(slug)
        pool.drivers[pool.place(instance)].volumes.discard(volume_of(instance))
        missing_data.say(instance, reason="a test")
    rounds.carry_out(pool.clients.driver_for)
    before = [call for call, _ in pool.drivers["local"].calls].count("volumes_here")
    with django_assert_max_num_queries(8):  # type: ignore[attr-defined]
        rounds.carry_out(pool.clients.driver_for)
    hosts = {pool.place(one) for one in Instance.objects.all()}
    asked = [call for call, _ in pool.drivers["local"].calls].count("volumes_here") - before
    assert asked == ("local" in hosts)


# The choice -----------------------------------------------------------------------------------------


def test_the_newest_copy_an_older_one_or_none_as_was_chosen(pool: Pool) -> None:
    instance, _ = missing_shop(pool, b"second")
    old = Snapshot.objects.order_by("started_at").first()
    assert old is not None
    operation = choose(instance, DataChoice.NEWEST)
    assert pool.settle(operation) == "succeeded"
    assert pool.orders("local", instance) == {"first", "second"}
    assert "copy of" in Step.objects.get(operation=operation, name="load").detail
    told = InstanceEvent.objects.get(kind=EventKind.DATA_BACK).details
    assert told["choice"] == "newest"
    assert told["taken_at"]
    lose_volume(pool, instance)
    missing_data.say(Instance.objects.get(), reason="again")
    assert pool.settle(choose(instance, DataChoice.COPY, snapshot=old)) == "succeeded"
    assert pool.orders("local", instance) == {"first"}
    lose_volume(pool, instance)
    missing_data.say(Instance.objects.get(), reason="again")
    with pytest.raises(FieldError, match="type 'acme' to begin empty"):
        choose(instance, DataChoice.EMPTY, typed="yes")
    assert pool.settle(choose(instance, DataChoice.EMPTY, typed="acme")) == "succeeded"
    assert pool.orders("local", instance) == set()
    pool.check_one(instance)
    kept = Snapshot.objects.filter(state=SnapshotState.KEPT)
    assert kept.count() == 2  # what was copied before is there still


def test_what_came_back_meanwhile_is_not_loaded_over(pool: Pool) -> None:
    instance, content = missing_shop(pool)
    operation = choose(instance, DataChoice.NEWEST)
    bring_back(pool, instance, content)
    assert pool.settle(operation) == "succeeded"
    assert pool.orders("local", instance) == {"first", "late"}


def test_what_comes_back_at_the_last_moment_is_not_loaded_over(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, content = missing_shop(pool)
    load = volumes.load

    def load_late(*args: object, **more: object) -> object:
        bring_back(pool, instance, content)
        return load(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(volumes, "load", load_late)
    assert pool.settle(choose(instance, DataChoice.NEWEST)) == "succeeded"
    assert pool.orders("local", instance) == {"first", "late"}


def test_to_wait_looks_again_and_says_so(pool: Pool) -> None:
    instance, _ = missing_shop(pool)
    assert pool.settle(choose(instance, DataChoice.WAIT)) == "failed"
    instance.refresh_from_db()
    assert instance.state == InstanceState.DATA_MISSING
    assert InstanceEvent.objects.filter(kind=EventKind.DATA_MISSING).count() == 1


def test_choices_that_cannot_be_made_are_refused_in_words(pool: Pool) -> None:
    instance = copied(pool)
    with pytest.raises(StateConflictError, match="is not missing"):
        choose(instance, DataChoice.NEWEST)
    with pytest.raises(FieldError, match="must be one of wait, newest, copy, empty"):
        choose(instance, "anything")
    with pytest.raises(FieldError, match="give the id of a copy"):
        choose(instance, DataChoice.COPY)
    operations.open_operation(instance, Verb.REPAIR)
    with pytest.raises(OperationOpenError):
        choose(instance, DataChoice.NEWEST)


def test_a_choice_takes_the_place_of_a_recovery_that_only_waits(pool: Pool, tmp_path: Path) -> None:
    instance = copied(pool)
    operation = lose_host()
    (tmp_path / "repository").rename(tmp_path / "away")
    assert pool.world.run(operation) == "waits"
    chosen = choose(instance, DataChoice.EMPTY, typed="acme")
    operation.refresh_from_db()
    assert operation.state == OperationState.CANCELLED
    assert pool.settle(chosen) == "succeeded"
    assert pool.place(instance) != "local"
    assert Move.objects.filter(ended_at=None).count() == 0


HERE = ("ensure_stopped", "load_volume", "ensure_running", "apply")


@pytest.mark.parametrize(
    "point",
    [(call, when) for call in HERE for when in ("before", "after")],
    ids="-".join,
)
def test_a_choice_killed_anywhere_ends_with_its_copy(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, point: tuple[str, str]
) -> None:
    instance, _ = missing_shop(pool, b"second")
    empty = watch(pool)
    operation = choose(instance, DataChoice.NEWEST)
    with monkeypatch.context() as patch:
        arm(pool, patch, point)
        with pytest.raises(KilledError):
            pool.world.run(operation)
    assert pool.settle(operation) == "succeeded"
    assert empty == []
    assert pool.orders("local", instance) == {"first", "second"}
    pool.check_one(instance)
