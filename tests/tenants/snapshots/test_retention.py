"""Which copies are kept: thinned out by age, never the last good one, and deleted once nothing needs them."""

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from tenants.shops.models import Tenant
from tenants.snapshots import due, marks, repositories, retention, snapshots
from tenants.snapshots import snapshot_queries as seen
from tenants.snapshots.models import Snapshot, SnapshotSchedule
from tenants.states import (
    SnapshotDoubt,
    SnapshotReason,
    SnapshotState,
)
from tests.tenants.snapshots.copies import age, full, keep, put, same_hour

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("place")]


def test_old_ones_are_thinned_out_and_never_what_others_are_differences_to(
    tenant: Tenant, place: Path
) -> None:
    made = [keep(tenant, place) for _ in range(6)]
    full = snapshots.begin(tenant, SnapshotReason.PERIODIC)
    Snapshot.objects.filter(pk=full.pk).update(base=None)
    full.refresh_from_db()
    newest = snapshots.kept(full, put(full, place))
    # Of the same hour only the last is kept, which is a full one.
    assert list(seen.of(tenant)) == [newest]
    Snapshot.objects.filter(state=SnapshotState.GONE).update(state=SnapshotState.KEPT)
    for number, one in enumerate(made):
        age(one, 24 * 40 + 6 - number)
    age(made[4], 30)  # the last of its day: its four bases stay with it
    assert retention.thin_out(tenant.pk) == 1
    assert set(seen.of(tenant)) == {newest, *made[:5]}


def test_one_an_hour_one_a_day_and_one_a_week_stay(tenant: Tenant, place: Path) -> None:
    hours = [0, 0.1, 1, 2, 2.1, 30, 31, 24 * 3, 24 * 10, 24 * 10 + 1, 24 * 20, 24 * 60]
    for number in hours:
        snapshot = keep(tenant, place)
        Snapshot.objects.filter(pk=snapshot.pk).update(base=None, depth=0)
        age(snapshot, number)
    retention.thin_out(tenant.pk)
    left = seen.of(tenant).count()
    # Where the borders of hours and days fall depends on the clock; how many stay hardly does.
    assert 7 <= left <= 10
    assert not seen.of(tenant).filter(taken_at__lt=Now() - timedelta(days=28)).exists()


@pytest.mark.parametrize(
    "less",
    [
        {"files": 1, "volume_bytes": 40_000},
        {"files": 0, "volume_bytes": 0},
        {"files": 20, "volume_bytes": 40_000},
        {"files": 3},
        {"is_anew": True},
    ],
    ids=["begun_anew", "empty", "bytes", "files", "another_directory"],
)
def test_copies_of_what_is_left_never_let_the_last_good_one_go(
    tenant: Tenant, place: Path, less: dict[str, Any]
) -> None:
    good = full(tenant, place)
    age(good, 24 * 20)
    after = []
    for number in range(6):
        made = full(tenant, place, **(less if number == 0 or not less.get("is_anew") else {}))
        assert made.doubt, number
        after.append(made)
        age(made, 24 * 19 - 24 * number)
    for one in after:  # as if all were of one hour, too
        age(one, 1)
    retention.thin_out(tenant.pk)
    assert good in list(seen.of(tenant))
    assert seen.candidates(tenant)[0] == after[-1]
    assert seen.doubtful(after[-1].doubt, 5) == (1, ("acme",))
    # A person says that it is right: then it counts again, and the others go as usual.
    assert marks.accept(tenant) > 0
    assert full(tenant, place, **({} if less.get("is_anew") else less)).doubt == ""
    assert seen.doubtful(after[-1].doubt, 5) == (0, ())
    age(good, 24 * 40)
    retention.thin_out(tenant.pk)
    assert good not in list(seen.of(tenant))


def test_what_comes_back_to_its_size_is_in_order_again(tenant: Tenant, place: Path) -> None:
    full(tenant, place)
    assert full(tenant, place, files=1).doubt == SnapshotDoubt.SHRUNK
    assert full(tenant, place).doubt == ""


def test_a_small_shop_may_lose_a_little(tenant: Tenant, place: Path) -> None:
    full(tenant, place, files=2, volume_bytes=40_000)
    assert full(tenant, place, files=1, volume_bytes=10_000).doubt == ""


def test_after_four_weeks_the_smaller_content_is_the_shop_s_own(
    tenant: Tenant, place: Path
) -> None:
    good = full(tenant, place)
    age(good, 24 * 29)
    assert full(tenant, place, files=1, volume_bytes=40_000).doubt == ""


def test_going_back_to_a_copy_in_order_ends_the_doubt(tenant: Tenant, place: Path) -> None:
    good = full(tenant, place)
    assert full(tenant, place, is_anew=True).doubt == SnapshotDoubt.ANEW
    assert full(tenant, place).doubt == SnapshotDoubt.ANEW
    snapshots.is_newest_again(tenant, good.public_id)
    assert seen.candidates(tenant)[0] == good
    assert full(tenant, place).doubt == ""


@pytest.mark.parametrize("reason", [SnapshotReason.ASKED, SnapshotReason.RISKY])
def test_what_is_asked_for_takes_no_regular_copy_s_place(
    tenant: Tenant, place: Path, reason: str
) -> None:
    regular = full(tenant, place)
    extra = full(tenant, place, reason=reason)
    same_hour()
    retention.thin_out(tenant.pk)
    assert set(seen.of(tenant)) == {regular, extra}
    full(tenant, place)  # and a newer one is there besides
    assert {regular, extra} <= set(seen.of(tenant))


def test_an_unchanged_volume_s_copy_is_kept_as_long_as_what_was_asked_for(
    tenant: Tenant, place: Path
) -> None:
    first = keep(tenant, place)
    again = snapshots.unchanged(snapshots.begin(tenant, SnapshotReason.RISKY))
    assert (again.pk, again.reason) == (first.pk, SnapshotReason.RISKY)
    again = snapshots.unchanged(snapshots.begin(tenant, SnapshotReason.PERIODIC))
    assert again.reason == SnapshotReason.RISKY


def test_a_damaged_copy_never_counts_as_the_newer_one(tenant: Tenant, place: Path) -> None:
    good, bad = full(tenant, place), full(tenant, place)
    Snapshot.objects.filter(pk=good.pk).update(state=SnapshotState.KEPT)
    same_hour()
    marks.damaged(bad, "read again, its archive is not what was put there")
    retention.thin_out(tenant.pk)
    assert list(seen.of(tenant)) == [good]


def test_nothing_is_deleted_that_a_kept_copy_or_one_being_made_needs(
    tenant: Tenant, place: Path
) -> None:
    first = keep(tenant, place)
    keep(tenant, place)
    Snapshot.objects.filter(pk=first.pk).update(state=SnapshotState.GONE)
    assert due.delete_gone(10) == 0
    assert Snapshot.objects.filter(pk=first.pk).exists()
    making = snapshots.begin(tenant, SnapshotReason.PERIODIC)
    Snapshot.objects.filter(state=SnapshotState.KEPT).update(
        taken_at=Now() - timedelta(days=60), started_at=Now() - timedelta(days=60)
    )
    retention.thin_out(tenant.pk)
    assert making.base_id is not None
    assert Snapshot.objects.get(pk=making.base_id).state == SnapshotState.KEPT


def test_archives_are_deleted_with_no_transaction_open(
    tenant: Tenant, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tenant, place)
    snapshots.forget(tenant)
    depth = len(connection.savepoint_ids)  # of the test's own transaction
    seen_at: list[int] = []
    remove = repositories.current().remove

    def look(keys: Collection[str]) -> None:
        seen_at.append(len(connection.savepoint_ids))
        remove(keys)

    monkeypatch.setattr(repositories.current(), "remove", look)
    assert due.delete_gone(10) == 1
    assert seen_at == [depth]


def test_what_was_let_go_is_deleted_and_what_follows_from_a_removal_too(
    tenant: Tenant, place: Path
) -> None:
    keep(tenant, place)
    snapshots.forget(tenant)
    assert due.delete_gone(10) == 1
    assert list(place.rglob("snp_*")) == []
    assert not Snapshot.objects.exists()
    assert not SnapshotSchedule.objects.exists()
