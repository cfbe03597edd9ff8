"""Data leaves a host and comes back: regular snapshots, moves and restores through the real repository."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from runtime.errors import (
    ArchiveDamagedError,
    HostUnreachableError,
    TransferFailedError,
    UnhealthyError,
)
from tenants.core.models import Alarm
from tenants.errors import OperationOpenError, SnapshotLostError, StateConflictError
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.shops.models import Instance, Tenant
from tenants.snapshots import due as snapshot_rounds
from tenants.snapshots import snapshot_queries as copies
from tenants.snapshots import snapshots
from tenants.snapshots.models import Snapshot, SnapshotSchedule
from tenants.states import (
    InstanceState,
    SnapshotDoubt,
    SnapshotReason,
    SnapshotState,
)
from tenants.transfers import restores
from tests.workers.flows.pool import Pool
from workers.flows.steps import volumes
from workers.reconcilers import snapshots as rounds

pytestmark = pytest.mark.django_db


def take(pool: Pool, instance: Instance, reason: str = SnapshotReason.ASKED) -> Snapshot:
    placement = Placement.objects.select_related("host").get(instance=instance, until=None)
    return volumes.take(None, instance.tenant, placement, pool.clients, reason=reason)


def restore(pool: Pool, instance: Instance, snapshot: Snapshot) -> Operation:
    return restores.request(Tenant.objects.get(pk=instance.tenant_id), snapshot)


def test_a_snapshot_of_a_running_shop_is_kept_and_the_next_is_a_difference(pool: Pool) -> None:
    instance = pool.shop()
    first = take(pool, instance)
    assert (first.state, first.depth, first.files) == ("kept", 0, 1)
    pool.order(instance, b"second")
    second = take(pool, instance)
    assert (second.base_id, second.depth) == (first.pk, 1)
    assert take(pool, instance).pk == second.pk  # nothing has changed since
    assert pool.running(instance) == ["local"]


def test_a_snapshot_that_fails_says_why_and_a_later_one_works(pool: Pool) -> None:
    instance = pool.shop()
    pool.drivers["local"].fail_next("save_volume", TransferFailedError("the depot is away"))
    with pytest.raises(TransferFailedError):
        take(pool, instance)
    failed = Snapshot.objects.get()
    assert (failed.state, failed.message) == ("failed", "the depot is away")
    assert take(pool, instance).state == "kept"


def test_a_move_carries_the_data_through_the_repository(pool: Pool) -> None:
    instance = pool.shop()
    operation = pool.ask(instance)
    assert pool.settle(operation) == "succeeded"
    pool.check_one(instance)
    assert pool.orders("second", instance) == {"first"}
    assert Snapshot.objects.filter(reason="move", state="kept").exists()


def test_a_restore_brings_exactly_the_state_and_keeps_the_one_before(pool: Pool) -> None:
    instance = pool.shop()
    early = take(pool, instance)
    pool.order(instance, b"second")
    operation = restore(pool, instance, early)
    assert pool.settle(operation) == "succeeded"
    pool.check_one(instance)
    assert pool.orders("local", instance) == {"first"}
    operation.refresh_from_db()
    before = Snapshot.objects.get(public_id=operation.arguments["safety"])
    assert before.reason == SnapshotReason.RISKY
    back = restore(pool, instance, before)
    assert pool.settle(back) == "succeeded"
    assert pool.orders("local", instance) == {"first", "second"}


def test_a_shop_that_does_not_start_on_the_older_data_gets_the_newer_back(pool: Pool) -> None:
    instance = pool.shop()
    early = take(pool, instance)
    pool.order(instance, b"second")
    operation = restore(pool, instance, early)
    pool.drivers["local"].fail_next("ensure_running", UnhealthyError("it does not answer"))
    assert pool.settle(operation) == "failed"
    assert "it does not answer" in operation.error_message
    pool.check_one(instance)
    assert pool.orders("local", instance) == {"first", "second"}
    instance.refresh_from_db()
    assert instance.state == InstanceState.RUNNING


@pytest.mark.parametrize(
    ("call", "ended", "orders"),
    [
        # Before anybody notices: tried again, and done.
        ("save_volume", "succeeded", {"first"}),
        # Under the hold: back at once.
        ("ensure_stopped", "failed", {"first", "second"}),
        ("load_volume", "failed", {"first", "second"}),
    ],
)
def test_a_host_that_falls_silent_in_a_restore_leaves_the_shop_with_its_data(
    pool: Pool, call: str, ended: str, orders: set[str]
) -> None:
    instance = pool.shop()
    early = take(pool, instance)
    pool.order(instance, b"second")
    operation = restore(pool, instance, early)
    pool.drivers["local"].fail_next(call, HostUnreachableError("cable is out"))
    assert pool.settle(operation) == ended
    pool.check_one(instance)
    assert pool.orders("local", instance) == orders


def test_what_cannot_be_restored_is_refused_before_anything_happens(pool: Pool) -> None:
    instance, other = pool.shop(), pool.shop("other")
    snapshot = take(pool, other)
    with pytest.raises(StateConflictError):
        restore(pool, instance, snapshot)
    mine = take(pool, instance)
    restore(pool, instance, mine)
    with pytest.raises(OperationOpenError):
        restore(pool, instance, mine)


def test_a_restore_whose_archive_is_gone_changes_nothing(pool: Pool) -> None:
    instance = pool.shop()
    early = take(pool, instance)
    operation = restore(pool, instance, early)
    Snapshot.objects.update(state=SnapshotState.FAILED)
    assert pool.settle(operation) == "failed"
    assert operation.error_code == SnapshotLostError.code
    pool.check_one(instance)
    assert pool.orders("local", instance) == {"first"}


# Regular ones -----------------------------------------------------------------------------------


def test_a_removed_shop_leaves_no_copy_behind(pool: Pool, settings: Settings) -> None:
    from tenants.shops import removals

    instance = pool.shop()
    take(pool, instance)
    operation = removals.request(Tenant.objects.get(pk=instance.tenant_id))
    assert pool.settle(operation) == "succeeded"
    rounds.tidy()
    assert list(Path(settings.STOA_SNAPSHOTS).rglob("snp_*")) == []
    assert not Snapshot.objects.exists()


def test_a_damaged_copy_is_told_and_the_next_is_a_full_one(pool: Pool, settings: Settings) -> None:
    instance = pool.shop()
    first = take(pool, instance)
    path = Path(settings.STOA_SNAPSHOTS) / instance.tenant.public_id / first.public_id
    path.write_bytes(b"x")
    Snapshot.objects.update(checked_at=Now() - timedelta(days=8))
    assert rounds.check() == "1 archives read again, 1 damaged"
    rounds.tidy()
    assert Alarm.objects.filter(key="snapshots.damaged", cleared_at=None).exists()
    assert snapshots.newest(instance.tenant) is None
    assert take(pool, instance).depth == 0


# Damage that is found on the way -----------------------------------------------------------------


def spoil(settings: Settings, snapshot: Snapshot) -> None:
    """One byte of the archive in the repository becomes another."""
    path = Path(settings.STOA_SNAPSHOTS) / snapshot.tenant.public_id / snapshot.public_id
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_host_that_finds_an_archive_damaged_has_it_marked_and_a_full_copy_made_at_once(
    pool: Pool, settings: Settings
) -> None:
    instance = pool.shop()
    early = take(pool, instance)
    pool.order(instance, b"second")
    later = take(pool, instance)
    operation = restore(pool, instance, early)
    SnapshotSchedule.objects.update(due_at=Now() + timedelta(hours=1))
    spoil(settings, early)
    assert pool.settle(operation) == "failed"
    pool.check_one(instance)
    assert pool.orders("local", instance) == {"first", "second"}
    for snapshot in (early, later):  # later needs the archive of early
        snapshot.refresh_from_db()
        assert snapshot.state == SnapshotState.FAILED
    assert Alarm.objects.filter(key="snapshots.damaged", cleared_at=None).exists()
    assert early.public_id not in {one.public_id for one in copies.candidates(instance.tenant)}
    found = snapshot_rounds.claim_due(10, of_one_host=2)
    assert [one.tenant_pk for one in found] == [instance.tenant_id]
    assert rounds.take(instance.tenant_id, pool.clients) == "kept"
    assert Snapshot.objects.filter(state="kept").latest("started_at").depth == 0


def test_damage_is_found_before_anybody_waits(pool: Pool, settings: Settings) -> None:
    instance = pool.shop()
    early = take(pool, instance)
    pool.order(instance, b"second")
    operation = restore(pool, instance, early)
    spoil(settings, early)
    Snapshot.objects.update(checked_at=Now() - timedelta(hours=1))
    pool.world.edges.told.clear()
    assert pool.settle(operation) == "failed"
    assert operation.error_code == SnapshotLostError.code
    assert pool.world.edges.told == []


def test_a_host_s_word_alone_throws_no_copy_away(pool: Pool) -> None:
    instance = pool.shop()
    early = take(pool, instance)
    pool.order(instance, b"second")
    wrong = ArchiveDamagedError("it is no archive", snapshot=early.public_id)
    pool.drivers["local"].fail_next("load_volume", wrong)
    operation = restore(pool, instance, early)
    assert pool.settle(operation) == "failed"
    assert pool.orders("local", instance) == {"first", "second"}
    early.refresh_from_db()
    assert (early.state, early.doubt) == (SnapshotState.KEPT, SnapshotDoubt.UNUSABLE)
    assert early not in copies.candidates(instance.tenant)
    rounds.tidy()
    assert Alarm.objects.filter(key="snapshots.unusable", cleared_at=None).exists()


def test_what_a_copy_left_out_is_kept_with_it(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = pool.shop()
    driver = pool.drivers["local"]
    save = driver.save_volume
    monkeypatch.setattr(driver, "save_volume", lambda asked: replace(save(asked), skipped=203))
    assert take(pool, instance).skipped == 203
