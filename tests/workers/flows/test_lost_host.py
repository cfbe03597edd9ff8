"""A shop whose host is lost comes back with its newest copy, or waits: it never ends empty."""

from pathlib import Path

import pytest

from runtime.errors import ArchiveDamagedError, HostUnreachableError, TransferFailedError
from tenants.activity.models import InstanceEvent
from tenants.core.models import Alarm
from tenants.errors import StateConflictError
from tenants.operations import operations
from tenants.operations.models import Operation, Step
from tenants.placement.models import Placement
from tenants.pool import health
from tenants.pool.models import Host, HostReport
from tenants.shops import removals
from tenants.shops.models import Instance
from tenants.snapshots.models import Snapshot
from tenants.states import (
    EventKind,
    HostHealth,
    InstanceState,
    SnapshotState,
    TenantState,
    Verb,
)
from tenants.transfers.models import Move
from tests.workers.flows.losses import (
    KilledError,
    arm,
    copied,
    damage,
    host_returns,
    lose_host,
    volume_of,
    watch,
)
from tests.workers.flows.pool import Pool
from workers.reconcilers import missing_data as rounds

pytestmark = pytest.mark.django_db


def test_a_damaged_copy_is_marked_and_the_next_older_one_taken(pool: Pool, tmp_path: Path) -> None:
    instance = copied(pool, b"second")
    newest = Snapshot.objects.order_by("-started_at").first()
    assert newest is not None
    damage(newest, tmp_path)
    operation = lose_host()
    assert pool.settle(operation) == "succeeded"
    assert pool.orders(pool.place(instance), instance) == {"first"}
    newest.refresh_from_db()
    assert newest.state == SnapshotState.FAILED
    told = InstanceEvent.objects.get(kind=EventKind.RECOVERED).details
    assert told["skipped"] == [newest.public_id]
    assert "1 newer could not be used" in Step.objects.get(operation=operation, name="load").detail


def test_when_every_copy_is_damaged_the_shop_waits_for_its_host(pool: Pool, tmp_path: Path) -> None:
    empty = watch(pool)
    instance = copied(pool)
    damage(Snapshot.objects.get(), tmp_path)
    assert pool.settle(lose_host()) == "failed"
    instance.refresh_from_db()
    assert instance.state == InstanceState.DATA_MISSING
    assert pool.place(instance) == "local"
    assert Move.objects.filter(ended_at=None).count() == 0
    host_returns(pool, instance)
    assert pool.settle(Operation.objects.get(verb=Verb.REPAIR)) == "succeeded"
    assert pool.orders("local", instance) == {"first", "late"}
    assert empty == []


def test_a_copy_that_cannot_be_had_is_waited_for_without_using_anything_up(
    pool: Pool, tmp_path: Path
) -> None:
    empty = watch(pool)
    instance = copied(pool)
    operation = lose_host()
    (tmp_path / "repository").rename(tmp_path / "away")
    for _ in range(20):
        assert pool.world.run(operation) == "waits"
    assert (operation.attempts, operation.error_code) == (0, "data_waiting")
    assert pool.place(instance) == "local"
    Operation.objects.update(waiting_since="2020-01-01T00:00:00Z")
    rounds.carry_out(pool.clients.driver_for)
    assert "is away" in Alarm.objects.get(key="data.waiting", cleared_at=None).message
    (tmp_path / "away").rename(tmp_path / "repository")
    assert pool.settle(operation) == "succeeded"
    assert pool.orders(pool.place(instance), instance) == {"first"}
    rounds.carry_out(pool.clients.driver_for)
    assert not Alarm.objects.filter(key="data.waiting", cleared_at=None).exists()
    assert empty == []


def test_a_depot_that_is_stopped_is_waited_for(pool: Pool) -> None:
    instance = copied(pool)
    operation = lose_host()
    for name in ("second", "third"):
        for _ in range(12):
            pool.drivers[name].fail_next("load_volume", TransferFailedError("refused"))
    for _ in range(12):
        assert pool.world.run(operation) == "waits"
    for name in ("second", "third"):
        pool.drivers[name]._failures.clear()
    assert pool.settle(operation) == "succeeded"
    assert pool.orders(pool.place(instance), instance) == {"first"}
    assert Snapshot.objects.get().state == SnapshotState.KEPT


def test_a_whole_copy_that_no_host_can_use_gives_way_to_an_older_one(pool: Pool) -> None:
    instance = copied(pool, b"second")
    newest = Snapshot.objects.order_by("-started_at")[0]
    operation = lose_host()
    for name in ("second", "third"):
        pool.drivers[name].fail_next(
            "load_volume", ArchiveDamagedError("no archive", snapshot=newest.public_id)
        )
    assert pool.settle(operation) == "succeeded"
    assert pool.orders(pool.place(instance), instance) == {"first"}
    newest.refresh_from_db()
    assert newest.doubt == "unusable"


def test_a_pool_without_room_is_waited_for(pool: Pool) -> None:
    instance = copied(pool)
    operation = lose_host()
    Host.objects.exclude(name="local").update(capacity_memory_bytes=1)
    assert pool.world.run(operation) == "waits"
    assert pool.world.run(operation) == "waits"
    assert pool.place(instance) == "local"
    Host.objects.update(capacity_memory_bytes=10**9)
    assert pool.settle(operation) == "succeeded"
    assert pool.orders(pool.place(instance), instance) == {"first"}


def test_a_place_that_is_lost_before_the_load_is_given_up_for_another(pool: Pool) -> None:
    instance = copied(pool)
    operation = lose_host()
    for name in ("second", "third"):
        pool.drivers[name].fail_next("load_volume", HostUnreachableError("silent"))
    assert pool.world.run(operation) == "waits"
    target = Move.objects.get(ended_at=None).target
    for old, new in (("alive", "unreachable"), ("unreachable", "lost")):
        assert health.move(target.pk, old, new, reason="a test")
    HostReport.objects.filter(host=target).delete()
    for driver in pool.drivers.values():
        driver._failures.clear()
    assert pool.settle(operation) == "succeeded"
    assert pool.place(instance) not in ("local", target.name)
    assert pool.orders(pool.place(instance), instance) == {"first"}


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_recovery_whose_new_host_is_lost_too_leaves_no_third_place(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ends: str
) -> None:
    """Its place has switched once already: what a later try has booked beside it is given back too."""
    instance = copied(pool, b"second")
    operation = lose_host()
    with monkeypatch.context() as patch:
        arm(pool, patch, ("ensure_running", "before"))
        with pytest.raises(KilledError):
            pool.world.run(operation)
    second = pool.place(instance)
    assert second != "local"
    host = Host.objects.get(name=second)
    assert health.move(host.pk, HostHealth.ALIVE, HostHealth.UNREACHABLE, reason="a test")
    assert health.move(host.pk, HostHealth.UNREACHABLE, HostHealth.LOST, reason="a test")
    HostReport.objects.filter(host=host).delete()
    with pytest.raises(StateConflictError, match="too late"):
        operations.cancel(operation)
    if ends == "badly":
        for snapshot in Snapshot.objects.all():
            damage(snapshot, tmp_path)
    assert pool.settle(operation) == ("succeeded" if ends == "well" else "failed")
    assert not Move.objects.filter(ended_at=None).exists()
    third = ({"second", "third"} - {second}).pop()
    assert pool.place(instance) == (third if ends == "well" else second)
    for one in Host.objects.all():
        booked = Placement.objects.filter(host=one, until=None)
        assert one.booked_memory_bytes == sum(place.memory_bytes for place in booked)
    if ends == "badly":
        assert operation.error_code == "no_copy"
        assert pool.volumes(third) == set()


# Wherever it is interrupted ---------------------------------------------------------------------------

CALLS = ("reserve", "load_volume", "change_place", "close", "ensure_running", "apply")
POINTS = [(call, when) for call in CALLS for when in ("before", "after")]
AFTERWARDS = ("repeat", "cancel", "removal", "damaged", "away", "returns")
# By default every point with the three that lose most, and two points with each of the others.
LONG = [
    pytest.param(
        point,
        then,
        id=f"{point[0]}-{point[1]}-{then}",
        marks=()
        if then in ("returns", "damaged") or point[0] in ("load_volume", "change_place")
        else pytest.mark.long,
    )
    for point in POINTS
    for then in AFTERWARDS
]


@pytest.mark.parametrize(("point", "then"), LONG)
def test_a_recovery_killed_anywhere_never_ends_empty(  # noqa: PLR0915 - one story
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    point: tuple[str, str],
    then: str,
) -> None:
    empty = watch(pool)
    instance = copied(pool, b"second")
    operation = lose_host()
    with monkeypatch.context() as patch:
        arm(pool, patch, point)
        with pytest.raises(KilledError):
            pool.world.run(operation)
    was_elsewhere = pool.place(instance) != "local"
    newest = {"first", "second"}
    if then == "removal":
        removal = removals.request(instance.tenant)
        assert pool.settle(removal) == "succeeded"
        host_returns(pool, instance)
        assert {name for name in pool.drivers if pool.running(instance)} == set()
        instance.tenant.refresh_from_db()
        assert instance.tenant.state == TenantState.REMOVED
        assert {host.booked_memory_bytes for host in Host.objects.all()} == {0}
        return
    if then == "cancel" and was_elsewhere:
        # Its place has switched: there is nothing to go back to.
        with pytest.raises(StateConflictError, match="too late"):
            operations.cancel(operation)
    elif then == "cancel":
        operations.cancel(operation)
    elif then == "damaged":
        last = Snapshot.objects.order_by("-started_at")[0]
        damage(last, tmp_path)
        newest = newest if was_elsewhere or _has_loaded(pool, instance) else {"first"}
    elif then == "away":
        (tmp_path / "repository").rename(tmp_path / "away")
        Operation.objects.update(lease_until=None)
        told = pool.world.run(operation)
        assert told == ("done" if was_elsewhere or _has_loaded(pool, instance) else "waits")
        (tmp_path / "away").rename(tmp_path / "repository")
    elif then == "returns":
        host_returns(pool, instance)
        newest = newest if was_elsewhere else {"first", "late", "second"}
    if operation.is_open and Operation.objects.get(pk=operation.pk).is_open:
        ended = pool.settle(operation)
        stops = then == "cancel" and not was_elsewhere
        assert ended == ("cancelled" if stops else "succeeded")
    if then == "cancel" and pool.place(instance) == "local":
        host_returns(pool, instance)
        newest = {"first", "late", "second"}
    _finish(pool, instance)
    assert empty == []
    assert pool.orders(pool.place(instance), instance) == newest
    running = [one for one in pool.running(instance) if _is_alive(one)]
    assert running == [pool.place(instance)]
    assert not Move.objects.filter(ended_at=None).exists()
    booked = {
        host.name: sum(one.memory_bytes for one in Placement.objects.filter(host=host, until=None))
        for host in Host.objects.all()
    }
    assert {host.name: host.booked_memory_bytes for host in Host.objects.all()} == booked


def _has_loaded(pool: Pool, instance: Instance) -> bool:
    """Whether the copy lies whole at the place that is booked beside."""
    return any(
        volume_of(instance) in pool.volumes(name) for name in pool.drivers if name != "local"
    )


def _is_alive(name: str) -> bool:
    return bool(Host.objects.get(name=name).health == HostHealth.ALIVE)


def _finish(pool: Pool, instance: Instance) -> None:
    """What reconcile does next, until the shop runs."""
    for _ in range(3):
        instance.refresh_from_db()
        if instance.state == InstanceState.RUNNING:
            return
        opened = Operation.objects.filter(state__in=("pending", "running")).first()
        opened = opened or operations.open_operation(instance, Verb.REPAIR)
        assert pool.settle(opened) == "succeeded"
