"""Snapshots in the record: kept only once read back, chained, thinned out, found again when damaged."""

import hashlib
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from tenants.catalogue.models import Plan
from tenants.errors import SnapshotLostError, StateConflictError
from tenants.shops.models import Tenant
from tenants.snapshots import due, marks, repositories, retention, snapshots
from tenants.snapshots import snapshot_queries as seen
from tenants.snapshots.models import Snapshot, SnapshotSchedule
from tenants.snapshots.repositories import addresses
from tenants.snapshots.snapshots import Saved
from tenants.states import (
    SNAPSHOT_TRANSITIONS,
    SnapshotDoubt,
    SnapshotReason,
    SnapshotState,
    TenantState,
)
from tests.factories import make_shop

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def place(settings: Settings, tmp_path: Path) -> Path:
    settings.STOA_SNAPSHOTS = str(tmp_path)
    return tmp_path


@pytest.fixture
def tenant() -> Tenant:
    tenant = make_shop("acme").tenant
    Tenant.objects.filter(pk=tenant.pk).update(state=TenantState.LIVE)
    SnapshotSchedule.objects.create(tenant=tenant, due_at=Now())
    return tenant


def put(snapshot: Snapshot, place: Path, content: bytes = b"archive") -> Saved:
    """Do as a host does with what it is told to put away."""
    path = place / snapshot.tenant.public_id / snapshot.public_id
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    sha = hashlib.sha256(content).hexdigest()
    base = snapshot.base.public_id if snapshot.base else ""
    return Saved(base, sha, len(content), 10 * len(content), 3, 0.0)


def keep(tenant: Tenant, place: Path, reason: str = SnapshotReason.PERIODIC) -> Snapshot:
    snapshot = snapshots.begin(tenant, reason)
    return snapshots.kept(snapshot, put(snapshot, place))


def age(snapshot: Snapshot, hours: float) -> None:
    moment = Now() - timedelta(hours=hours)
    Snapshot.objects.filter(pk=snapshot.pk).update(taken_at=moment, started_at=moment)


def test_every_state_has_a_row_in_the_table() -> None:
    assert set(SNAPSHOT_TRANSITIONS) == set(SnapshotState)


def test_a_snapshot_counts_once_it_was_read_back(tenant: Tenant, place: Path) -> None:
    snapshot = snapshots.begin(tenant, SnapshotReason.PERIODIC)
    assert snapshots.newest(tenant) is None
    kept = snapshots.kept(snapshot, put(snapshot, place))
    assert (kept.state, kept.depth, kept.archive_bytes) == ("kept", 0, 7)
    assert snapshots.newest(tenant) == kept
    assert SnapshotSchedule.objects.get().taken_at == kept.taken_at


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "nothing"), (b"archivE", "7 bytes of something else"), (b"arch", "4 bytes")],
)
def test_an_archive_that_is_not_what_the_host_said_is_not_kept(
    tenant: Tenant, place: Path, content: bytes, told: str
) -> None:
    snapshot = snapshots.begin(tenant, SnapshotReason.PERIODIC)
    saved = put(snapshot, place)
    path = place / tenant.public_id / snapshot.public_id
    path.write_bytes(content) if content else path.unlink()
    with pytest.raises(SnapshotLostError, match=told):
        snapshots.kept(snapshot, saved)
    assert snapshots.newest(tenant) is None


def test_a_newer_one_overtakes_one_that_is_being_made(tenant: Tenant, place: Path) -> None:
    first = snapshots.begin(tenant, SnapshotReason.PERIODIC)
    second = snapshots.begin(tenant, SnapshotReason.MOVE)
    with pytest.raises(StateConflictError):
        snapshots.kept(first, put(first, place))
    assert snapshots.kept(second, put(second, place)).state == "kept"


def test_differences_follow_their_base_and_a_long_chain_begins_anew(
    tenant: Tenant, place: Path
) -> None:
    made = [keep(tenant, place) for _ in range(snapshots.DEPTH_LIMIT)]
    assert [one.depth for one in made] == [*range(snapshots.DEPTH_LIMIT)]
    chain = snapshots.chain_of(made[3])
    assert [part.snapshot for part in chain] == [one.public_id for one in made[:4]]
    assert all(part.sha256 == hashlib.sha256(b"archive").hexdigest() for part in chain)
    last = keep(tenant, place)
    assert (last.depth, len(snapshots.chain_of(last))) == (0, 1)


def test_a_host_that_makes_a_full_one_although_it_was_given_a_base_is_believed(
    tenant: Tenant, place: Path
) -> None:
    keep(tenant, place)
    snapshot = snapshots.begin(tenant, SnapshotReason.PERIODIC)
    saved = put(snapshot, place)
    full = Saved("", saved.sha256, saved.archive_bytes, 70, 3, 0.0)
    kept = snapshots.kept(snapshot, full)
    assert (kept.base, kept.depth) == (None, 0)


def test_an_unchanged_volume_makes_its_last_snapshot_young_again(
    tenant: Tenant, place: Path
) -> None:
    first = keep(tenant, place)
    age(first, 3)
    again = snapshots.unchanged(snapshots.begin(tenant, SnapshotReason.PERIODIC))
    assert again.pk == first.pk
    assert again.taken_at
    assert first.taken_at
    assert again.taken_at >= first.taken_at
    assert Snapshot.objects.count() == 1


def test_a_failure_is_written_down_and_ended_by_the_next_success(
    tenant: Tenant, place: Path
) -> None:
    snapshots.failed(snapshots.begin(tenant, SnapshotReason.PERIODIC), "the host is silent")
    schedule = SnapshotSchedule.objects.get()
    assert (schedule.failures, schedule.message) == (1, "the host is silent")
    keep(tenant, place)
    schedule.refresh_from_db()
    assert (schedule.failures, schedule.message) == (0, "")


def test_a_chain_with_a_missing_archive_is_refused(tenant: Tenant, place: Path) -> None:
    first, second = keep(tenant, place), keep(tenant, place)
    Snapshot.objects.filter(pk=first.pk).update(state=SnapshotState.GONE)
    with pytest.raises(SnapshotLostError, match="is not kept any more"):
        snapshots.chain_of(second)


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


def full(
    tenant: Tenant,
    place: Path,
    *,
    reason: str = SnapshotReason.PERIODIC,
    files: int = 20,
    volume_bytes: int = 10_000_000,
    is_anew: bool = False,
) -> Snapshot:
    """A full copy that holds so much."""
    snapshot = snapshots.begin(tenant, reason)
    saved = put(snapshot, place)
    return snapshots.kept(
        snapshot,
        replace(saved, base="", files=files, volume_bytes=volume_bytes, is_anew=is_anew),
    )


def same_hour(hours: float = 2) -> None:
    """All copies there are were made in one hour, that long ago, in the order they were made in."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tenants_snapshot SET taken_at = date_trunc('hour', statement_timestamp())"
            " - %s * interval '1 hour' + (id %% 1000) * interval '1 second',"
            " started_at = date_trunc('hour', statement_timestamp())"
            " - %s * interval '1 hour' + (id %% 1000) * interval '1 second'",
            [hours, hours],
        )


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


def test_a_difference_to_what_was_found_damaged_meanwhile_is_not_kept(
    tenant: Tenant, place: Path
) -> None:
    first = keep(tenant, place)
    second = snapshots.begin(tenant, SnapshotReason.PERIODIC)
    saved = put(second, place)
    marks.damaged(first, "not what was put there")
    with pytest.raises(SnapshotLostError, match="is not kept"):
        snapshots.kept(second, saved)


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


def test_a_damaged_archive_is_found_and_all_that_needs_it_lost_with_it(
    tenant: Tenant, place: Path
) -> None:
    first, second = keep(tenant, place), keep(tenant, place)
    Snapshot.objects.update(checked_at=Now() - timedelta(days=8))
    (place / tenant.public_id / first.public_id).write_bytes(b"archivE")
    found = due.longest_unchecked(10)
    assert {one.pk for one in found} == {first.pk, second.pk}
    assert due.check(first) is False
    assert snapshots.newest(tenant) is None
    assert keep(tenant, place).depth == 0


def test_the_newest_good_copy_is_whole_and_not_one_that_was_tried(
    tenant: Tenant, place: Path
) -> None:
    old = keep(tenant, place)
    Snapshot.objects.filter(pk=old.pk).update(base=None)
    full = snapshots.begin(tenant, SnapshotReason.PERIODIC)
    Snapshot.objects.filter(pk=full.pk).update(base=None)
    full.refresh_from_db()
    full = snapshots.kept(full, put(full, place))
    Snapshot.objects.filter(pk=old.pk).update(state=SnapshotState.KEPT)
    last = keep(tenant, place)
    Snapshot.objects.filter(state=SnapshotState.GONE).update(state=SnapshotState.KEPT)
    assert seen.candidates(tenant) == [last, full, old]
    assert seen.candidates(tenant, excluding=[last.public_id], limit=1) == [full]
    marks.damaged(full, "not what was put there")
    assert seen.candidates(tenant) == [old]
    assert seen.candidates(tenant, excluding=[old.public_id]) == []


def test_due_tenants_are_claimed_once_a_few_per_host_and_none_of_a_silent_one(
    tenant: Tenant, place: Path
) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert due.claim_due(10, of_one_host=2) == []  # it is on no host
        due.enrol(10)
    assert len(queries) == 2


def test_a_failure_is_tried_again_soon_and_a_success_a_period_later(tenant: Tenant) -> None:
    Plan.objects.update(snapshot_period_minutes=60)
    for failures, least, most in ((0, 50, 70), (1, 0.8, 1.2), (3, 3.5, 4.5), (12, 50, 70)):
        SnapshotSchedule.objects.update(failures=failures)
        due.reschedule(tenant.pk)
        schedule = SnapshotSchedule.objects.get()
        minutes = (schedule.due_at - schedule.since).total_seconds() / 60
        assert least <= minutes <= most, failures


def test_a_shop_without_a_copy_for_two_periods_is_late(tenant: Tenant, place: Path) -> None:
    assert seen.ages().late == 0
    SnapshotSchedule.objects.update(since=Now() - timedelta(hours=3))
    found = seen.ages()
    assert (found.late, found.oldest and found.oldest.total_seconds() > 10_000) == (1, True)
    assert seen.late(5)[1][0].slug == "acme"
    keep(tenant, place)
    assert seen.ages().late == 0


def test_an_address_opens_one_object_for_one_method_until_its_time() -> None:
    key = "ten_0123456789abcdef/snp_0123456789abcdef"
    path, _, query = addresses.signed("PUT", key).partition("?")
    assert path == f"/internal/v1/snapshots/{key}"
    assert addresses.opens("PUT", key, query)
    assert not addresses.opens("GET", key, query)
    assert not addresses.opens("PUT", key.replace("snp_0", "snp_1"), query)
    assert not addresses.opens("PUT", key, query.replace("until=1", "until=2"))
    assert not addresses.opens("PUT", key, "")
    _, _, late = addresses.signed("PUT", key, seconds=-1).partition("?")
    assert not addresses.opens("PUT", key, late)


def test_no_key_leads_out_of_the_directory(place: Path) -> None:
    for wrong in ("../x/snp_0123456789", "ten_0123456789/..", "/etc/passwd", "ten_01234567/snp_"):
        with pytest.raises(repositories.RepositoryError, match="is no key"):
            repositories.current().read_back(wrong)
