"""A restore ends with the newer data back or with the older, and never says one while it is the other.

The worker is killed with no try left, the way back fails too, the host is lost: each time the data, the
operation's end and the words that are told agree, and the newer data is either in the shop or in a kept
copy. What else may come between is tried by the matrix (tests/workers/flows/kills).
"""

import itertools
from collections.abc import Callable
from contextlib import suppress

import pytest
from django.utils import translation

from runtime.errors import (
    HostUnreachableError,
    OutcomeUnknownError,
    RuntimeCoreError,
    TransferFailedError,
    UnhealthyError,
)
from runtime.specs import Fence
from tenants.errors import StateConflictError
from tenants.http import labels
from tenants.operations import attempts, leases, operations
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool import health
from tenants.pool.models import Host
from tenants.shops import repeats
from tenants.shops.models import Instance, Tenant
from tenants.snapshots import snapshot_queries as copies
from tenants.snapshots import snapshots
from tenants.snapshots.models import Snapshot
from tenants.snapshots.repositories import RepositoryError
from tenants.states import HostHealth, InstanceState, OperationState, SnapshotReason, SnapshotState
from tenants.transfers import restores
from tests.support import fake_volumes
from tests.workers.flows.losses import KilledError
from tests.workers.flows.pool import QUIET, Pool
from workers.flows.steps import hold_swap, volumes

pytestmark = pytest.mark.django_db

OLDER = {"first"}
NEWER = {"first", "second"}


def take(pool: Pool, instance: Instance) -> Snapshot:
    placement = Placement.objects.select_related("host").get(instance=instance, until=None)
    return volumes.take(None, instance.tenant, placement, pool.clients, reason=SnapshotReason.ASKED)


def begin(pool: Pool) -> tuple[Instance, Operation]:
    """A shop with two orders that is asked to go back to when it had one."""
    instance = pool.shop()
    early = take(pool, instance)
    pool.order(instance, b"second")
    return instance, restores.request(Tenant.objects.get(pk=instance.tenant_id), early)


def data(pool: Pool, instance: Instance) -> set[str]:
    return pool.orders("local", instance)


def check_truth(pool: Pool, instance: Instance, operation: Operation) -> None:
    """What the operation's end says of the data is so, and the newer data can be had."""
    operation.refresh_from_db()
    has = data(pool, instance)
    if operation.state == OperationState.SUCCEEDED or operation.error_code == "left_older":
        assert has == OLDER
    elif operation.error_code == "left_unsure":
        assert has in (OLDER, NEWER)
    else:
        assert has == NEWER, operation.error_message
    with translation.override("en"):
        told = str(labels.headline(operation.verb, operation.state, operation.error_code)) + (
            str(
                labels.failure(
                    operation.verb, operation.error_code, operation.state, phase=operation.phase
                )
            )
            if operation.error_code
            else ""
        )
    if has == OLDER:
        assert "data it had before;" not in told
        assert "as it was" not in told
        assert "earlier data" in told
    else:
        assert "earlier data back" not in told
        assert "has the earlier data now" not in told
    if has == OLDER:
        way_back = snapshots.of_id(operation.tenant, operation.arguments["safety"])
        assert way_back is not None
        # A lost host would be recovered with what the shop has now, once that is known.
        newest = next(iter(copies.candidates(operation.tenant, limit=1)), None)
        assert newest is not None
        if operation.error_code != "left_unsure":
            assert newest.public_id == operation.arguments["snapshot"]
        if operation.instance.state != InstanceState.FAILED:
            back = restores.request(Tenant.objects.get(pk=instance.tenant_id), way_back)
            assert pool.settle(back) == OperationState.SUCCEEDED
            assert data(pool, instance) == NEWER


# Every call a restore makes, and every write of how far it has come.
CALLS = [
    ("local ensure_stopped", 1),
    ("local load_volume", 1),
    ("local ensure_running", 1),
    ("local save_volume", 1),
    ("local save_volume", 2),
    ("volumes take", 1),
    ("volumes take", 2),
    ("edges apply", 1),
    ("edges apply", 2),
    ("attempts succeed", 1),
    *(("leases keep_arguments", nth) for nth in range(1, 5)),
    *(("leases begin_step", nth) for nth in range(1, 8)),
]
POINTS = [(name, nth, when) for name, nth in CALLS for when in ("before", "after")]
# What every run tries: where the data changes and where it is written down. The others are long.
EVERY_RUN = {
    ("local load_volume", 1, "after"),
    ("leases begin_step", 3, "after"),
    ("leases keep_arguments", 3, "after"),
    ("leases keep_arguments", 4, "before"),
    ("local ensure_running", 1, "after"),
    ("edges apply", 2, "before"),
}
points = pytest.mark.parametrize(
    "point",
    [
        pytest.param(
            one,
            id=f"{one[0]}-{one[1]}-{one[2]}",
            marks=() if one in EVERY_RUN else pytest.mark.long,
        )
        for one in POINTS
    ],
)


def arm(pool: Pool, monkeypatch: pytest.MonkeyPatch, point: tuple[str, int, str]) -> None:
    """Let the worker be killed at that call, before or after it has done its work."""
    name, nth, when = point
    where, call = name.split()
    owners: dict[str, object] = {
        "local": pool.drivers["local"],
        "edges": pool.world.edges,
        "volumes": volumes,
        "attempts": attempts,
        "leases": leases,
    }
    work: Callable[..., object] = getattr(owners[where], call)
    seen = itertools.count(1)

    def killed(*args: object, **kwargs: object) -> object:
        is_it = next(seen) == nth
        if is_it and when == "before":
            raise KilledError
        told = work(*args, **kwargs)
        if is_it:
            raise KilledError
        return told

    monkeypatch.setattr(owners[where], call, killed)


def kill(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, operation: Operation, point: tuple[str, int, str]
) -> None:
    arm(pool, monkeypatch, point)
    with pytest.raises(KilledError):
        pool.world.run(operation)
    monkeypatch.undo()
    monkeypatch.setattr(hold_swap, "QUIET_SECONDS", QUIET)


@points
def test_a_worker_killed_after_which_no_try_is_left_brings_the_newer_data_back(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, point: tuple[str, int, str]
) -> None:
    instance, operation = begin(pool)
    kill(pool, monkeypatch, operation, point)
    operation.refresh_from_db()
    if not operation.is_open:
        return
    Operation.objects.filter(pk=operation.pk).update(attempts=operation.max_attempts)
    assert pool.settle(operation) == OperationState.FAILED
    pool.check_one(instance)
    check_truth(pool, instance, operation)


FAILURES: list[Callable[[], RuntimeCoreError]] = [
    lambda: HostUnreachableError("cable is out"),
    lambda: OutcomeUnknownError("no answer"),
    lambda: TransferFailedError("the repository is away"),
    lambda: UnhealthyError("it does not answer"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda one: type(one()).__name__)
@pytest.mark.parametrize("loses", ["load_volume", "ensure_running"])
@pytest.mark.parametrize("then", ["load_volume", "ensure_running", "ensure_stopped"])
def test_what_fails_on_the_way_back_leaves_no_lie(
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    loses: str,
    then: str,
    failure: Callable[[], RuntimeCoreError],
) -> None:
    """The first answer is lost after the deed; on the way back another call fails twice."""
    instance, operation = begin(pool)
    driver = pool.drivers["local"]
    driver.lose_answer(loses)
    error, failed = failure(), itertools.count()
    # A host that has the data already asks no repository: there a transfer cannot fail.
    is_transfer = isinstance(error, TransferFailedError) and then == "load_volume"
    owner, name = (fake_volumes, "_get") if is_transfer else (driver, then)
    work = getattr(owner, name)

    def failing(*args: object, **kwargs: object) -> object:
        operation.refresh_from_db()
        if operation.unwind_code and next(failed) < 2:
            raise error
        return work(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)
    pool.settle(operation)
    monkeypatch.undo()
    instance.refresh_from_db()
    if instance.state == InstanceState.FAILED:
        has = data(pool, instance)
        repair = operations.open_operation(instance, "repair")  # as reconcile does
        assert pool.settle(repair) == OperationState.SUCCEEDED
        assert data(pool, instance) == has
    pool.check_one(instance)
    check_truth(pool, instance, operation)


def test_while_the_host_does_not_say_which_data_it_has_the_operation_waits_and_uses_nothing_up(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, operation = begin(pool)
    driver = pool.drivers["local"]
    driver.lose_answer("load_volume")
    load = driver.load_volume

    def silent(*args: object, **kwargs: object) -> object:
        with suppress(OutcomeUnknownError):
            load(*args, **kwargs)  # type: ignore[arg-type]
        driver.fail_next("ensure_stopped", HostUnreachableError("cable is out"))
        raise HostUnreachableError("cable is out")

    monkeypatch.setattr(driver, "load_volume", silent)
    told = []
    for _ in range(12):
        told.append(pool.world.run(operation))
        driver.fail_next("ensure_stopped", HostUnreachableError("cable is out"))
    assert set(told) == {"waits"}
    assert operation.is_open
    assert "does not say which data" in operation.error_message
    monkeypatch.undo()
    for _ in range(3):  # what was told and is not used up
        with suppress(HostUnreachableError):
            driver.ensure_stopped("ins_0000000000000000", fence=Fence(0, 0))
    assert pool.settle(operation) == OperationState.FAILED
    pool.check_one(instance)
    check_truth(pool, instance, operation)


def test_a_repository_that_goes_away_under_the_hold_does_not_keep_the_shop_standing(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, operation = begin(pool)
    kept, calls = snapshots.kept, itertools.count(1)

    def away(*args: object, **kwargs: object) -> object:
        if next(calls) > 1:
            raise RepositoryError("the repository is not mounted")
        return kept(*args, **kwargs)  # type: ignore[arg-type]

    # An order comes after the first copy, so that the last one is not the same.
    monkeypatch.setattr(snapshots, "kept", away)
    stop = pool.drivers["local"].ensure_stopped

    def sell_then_stop(*args: object, **kwargs: object) -> object:
        if pool.running(instance):
            pool.order(instance, b"late")
        return stop(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(pool.drivers["local"], "ensure_stopped", sell_then_stop)
    assert pool.world.run(operation) == "failed"
    assert operation.attempts == 1
    assert "not mounted" in operation.error_message
    pool.check_one(instance)
    assert data(pool, instance) == NEWER | {"late"}


def test_a_host_that_is_lost_in_the_middle_ends_it_and_the_newer_data_comes_back_elsewhere(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, operation = begin(pool)
    driver = pool.drivers["local"]
    load = driver.load_volume

    def gone(*args: object, **kwargs: object) -> object:
        load(*args, **kwargs)  # type: ignore[arg-type]
        driver.fail_next("ensure_stopped", HostUnreachableError("gone"))
        raise HostUnreachableError("gone")

    monkeypatch.setattr(driver, "load_volume", gone)
    assert pool.world.run(operation) == "waits"
    host = Host.objects.get(name="local")
    assert health.move(host.pk, HostHealth.ALIVE, HostHealth.UNREACHABLE, reason="a test")
    assert health.move(host.pk, HostHealth.UNREACHABLE, HostHealth.LOST, reason="a test")
    host.report.delete()
    assert pool.settle(operation) == OperationState.FAILED
    (placement,) = health.waiting_for_a_place(10)
    recovery = health.begin_recovery(placement)
    assert recovery is not None
    assert pool.settle(recovery) == OperationState.SUCCEEDED
    assert pool.orders(pool.place(instance), instance) == NEWER


def test_a_host_lost_after_a_restore_brings_the_older_data_back(pool: Pool) -> None:
    instance, operation = begin(pool)
    assert pool.settle(operation) == OperationState.SUCCEEDED
    host = Host.objects.get(name="local")
    assert health.move(host.pk, HostHealth.ALIVE, HostHealth.UNREACHABLE, reason="a test")
    assert health.move(host.pk, HostHealth.UNREACHABLE, HostHealth.LOST, reason="a test")
    host.report.delete()
    (placement,) = health.waiting_for_a_place(10)
    recovery = health.begin_recovery(placement)
    assert recovery is not None
    assert pool.settle(recovery) == OperationState.SUCCEEDED
    assert pool.orders(pool.place(instance), instance) == OLDER


def test_a_failed_restore_is_tried_again_from_its_beginning(pool: Pool) -> None:
    instance, operation = begin(pool)
    pool.drivers["local"].fail_next("ensure_running", UnhealthyError("it does not answer"))
    assert pool.settle(operation) == OperationState.FAILED
    repeats.retry(operation, is_operator=False)
    operation.refresh_from_db()
    assert set(operation.arguments) == {"snapshot"}
    assert pool.settle(operation) == OperationState.SUCCEEDED
    check_truth(pool, instance, operation)


def test_a_restore_whose_copy_is_gone_is_not_tried_again(pool: Pool) -> None:
    _, operation = begin(pool)
    pool.drivers["local"].fail_next("ensure_running", UnhealthyError("it does not answer"))
    assert pool.settle(operation) == OperationState.FAILED
    Snapshot.objects.filter(public_id=operation.arguments["snapshot"]).update(
        state=SnapshotState.FAILED
    )
    with pytest.raises(StateConflictError, match="choose another copy"):
        repeats.retry(operation)
