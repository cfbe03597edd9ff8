"""A shop that has had data is never started on an empty volume, and is told, chosen for and found again."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.db.models.functions import Now

from runtime.errors import ArchiveDamagedError, HostUnreachableError, TransferFailedError
from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.statuses import InstanceStatus
from runtime.wire import to_wire
from tenants.activity.models import InstanceEvent
from tenants.core.models import Alarm
from tenants.errors import FieldError, OperationOpenError, StateConflictError
from tenants.operations import operations
from tenants.operations.models import Operation, Step
from tenants.placement.models import Placement
from tenants.pool import health
from tenants.pool.models import Host, HostReport
from tenants.shops import removals
from tenants.shops.models import Instance, Tenant
from tenants.snapshots.models import Snapshot
from tenants.states import (
    DataChoice,
    EventKind,
    HostHealth,
    InstanceState,
    OperationState,
    SnapshotState,
    TenantState,
    Verb,
)
from tenants.transfers import missing_data, moves
from tenants.transfers.models import Move
from tests.workers.flows.pool import Pool
from workers.flows.steps import volumes
from workers.reconcilers import instances
from workers.reconcilers import missing_data as rounds

pytestmark = pytest.mark.django_db


class KilledError(BaseException):
    """The worker's process is gone."""


def watch(pool: Pool) -> list[str]:
    """The starts from now on that found nothing in their volume, by host."""
    empty: list[str] = []
    for name, driver in pool.drivers.items():

        def started(
            spec: InstanceSpec,
            *,
            fence: Fence,
            _start: Callable[..., InstanceStatus] = driver.ensure_running,
            _name: str = name,
        ) -> InstanceStatus:
            status = _start(spec, fence=fence)
            if not spec.new_volume and not pool.drivers[_name].contents[spec.volume]:
                empty.append(_name)
            return status

        driver.ensure_running = started  # type: ignore[method-assign]
    return empty


def copied(pool: Pool, *orders: bytes) -> Instance:
    """A shop with a copy after each order, and one order, `late`, that is in none."""
    instance = pool.shop()
    placement = Placement.objects.select_related("host").get(instance=instance, until=None)
    for order in (b"first", *orders):
        pool.order(instance, order)
        volumes.take(None, instance.tenant, placement, pool.clients, reason="asked")
        # Each a full one: what is lost with one must not be lost with all.
        Snapshot.objects.update(base=None, depth=0)
        for one in pool.drivers.values():
            one._stored._known.clear()
    pool.order(instance, b"late")
    return instance


def volume_of(instance: Instance) -> str:
    return instance.tenant.public_id.replace("_", "-")


def lose_volume(pool: Pool, instance: Instance) -> dict[str, bytes]:
    """Somebody moves the volume's directory away, and the container ends; what was in it."""
    driver = pool.drivers["local"]
    driver.volumes.discard(volume_of(instance))
    content = dict(driver.contents.pop(volume_of(instance)))
    driver.end(instance.public_id, exit_code=137)
    return content


def bring_back(pool: Pool, instance: Instance, content: dict[str, bytes]) -> None:
    pool.drivers["local"].contents[volume_of(instance)].update(content)
    pool.drivers["local"].volumes.add(volume_of(instance))


def lose_host(name: str = "local") -> Operation:
    host = Host.objects.get(name=name)
    assert health.move(host.pk, HostHealth.ALIVE, HostHealth.UNREACHABLE, reason="a test")
    assert health.move(host.pk, HostHealth.UNREACHABLE, HostHealth.LOST, reason="a test")
    HostReport.objects.filter(host=host).delete()
    (placement,) = health.waiting_for_a_place(10)
    operation = health.begin_recovery(placement)
    assert operation is not None
    return operation


def host_returns(pool: Pool, instance: Instance, name: str = "local") -> None:
    """The host is heard again; first it is told what is not its own any more."""
    host = Host.objects.get(name=name)
    if instance.public_id not in health.kept_on(host):
        pool.drivers[name].ensure_absent(
            instance.public_id, fence=Fence(host.epoch, 0), volume=VolumeFate.KEEP
        )
    assert health.move(host.pk, HostHealth.LOST, HostHealth.ALIVE, reason="back")
    HostReport.objects.create(
        host=host, seen_at=Now(), boot_id="c", sequence=1, digest="d", inventory=[]
    )
    health.repair_waiting(host.pk)


def report(pool: Pool, name: str = "local") -> None:
    HostReport.objects.filter(host__name=name).update(
        seen_at=Now(), inventory=to_wire(pool.drivers[name].list())
    )
    Placement.objects.update(since="2020-01-01T00:00:00Z")
    Instance.objects.update(state_since="2020-01-01T00:00:00Z")


def damage(snapshot: Snapshot, tmp_path: Path) -> None:
    path = tmp_path / "repository" / snapshot.tenant.public_id / snapshot.public_id
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def missing_shop(pool: Pool, *orders: bytes) -> tuple[Instance, dict[str, bytes]]:
    """A shop whose volume has gone, as reconcile and its repair leave it."""
    instance = copied(pool, *orders)
    content = lose_volume(pool, instance)
    report(pool)
    instances.carry_out(pool.clients.driver_for)
    assert pool.settle(Operation.objects.get(verb=Verb.REPAIR)) == "failed"
    instance.refresh_from_db()
    return instance, content


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


def choose(instance: Instance, choice: str, **more: object) -> Operation:
    tenant = Tenant.objects.get(pk=instance.tenant_id)
    return missing_data.choose(tenant, choice, **more)  # type: ignore[arg-type]


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


# A lost host ----------------------------------------------------------------------------------------


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


def arm(pool: Pool, monkeypatch: pytest.MonkeyPatch, point: tuple[str, str]) -> None:
    call, when = point
    owners: list[object] = list(pool.drivers.values())
    if call == "apply":
        owners = [pool.world.edges]
    elif call in ("reserve", "change_place", "close"):
        owners = [moves]
    for owner in owners:
        work: Callable[..., object] = getattr(owner, call)

        def killed(*args: object, _work: Callable[..., object] = work, **kwargs: object) -> object:
            if when == "before":
                raise KilledError
            _work(*args, **kwargs)
            raise KilledError

        monkeypatch.setattr(owner, call, killed)


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
    if then == "cancel":
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
        assert ended == ("cancelled" if then == "cancel" else "succeeded")
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
