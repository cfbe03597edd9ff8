"""Snapshots in the record: kept only once read back, chained, found again when damaged, made when due."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from tenants.catalogue.models import Plan
from tenants.errors import SnapshotLostError, StateConflictError
from tenants.shops.models import Tenant
from tenants.snapshots import due, marks, repositories, snapshots
from tenants.snapshots import snapshot_queries as seen
from tenants.snapshots.models import Snapshot, SnapshotSchedule
from tenants.snapshots.repositories import addresses
from tenants.snapshots.snapshots import Saved
from tenants.states import (
    SNAPSHOT_TRANSITIONS,
    SnapshotReason,
    SnapshotState,
)
from tests.tenants.snapshots.copies import age, keep, put

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("place")]


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


def test_a_difference_to_what_was_found_damaged_meanwhile_is_not_kept(
    tenant: Tenant, place: Path
) -> None:
    first = keep(tenant, place)
    second = snapshots.begin(tenant, SnapshotReason.PERIODIC)
    saved = put(second, place)
    marks.damaged(first, "not what was put there")
    with pytest.raises(SnapshotLostError, match="is not kept"):
        snapshots.kept(second, saved)


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
