"""Copies of a shop's data as merchants and operators see them, and going back to one."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from tenants.accounts.models import Member
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.shops.models import Instance
from tenants.snapshots import due, snapshots
from tenants.snapshots.models import Snapshot, SnapshotSchedule
from tenants.snapshots.snapshots import Saved
from tenants.states import InstanceState, SnapshotReason, TenantState, Verb
from tests.pages.conftest import Cast, make_shop, tenant_of

Browser = Callable[[Member | None], Client]


@pytest.fixture
def kept(cast: Cast, settings: Settings, tmp_path: Path) -> Snapshot:
    """A copy of Alice's shop `acme`, which runs."""
    settings.STOA_SNAPSHOTS = str(tmp_path)
    make_shop(cast.alice, "acme", state=TenantState.LIVE)
    tenant = tenant_of("acme")
    Instance.objects.filter(tenant=tenant).update(state=InstanceState.RUNNING)
    Placement.objects.create(
        instance=Instance.objects.get(tenant=tenant),
        host=Host.objects.get(),
        port=10000,
        cpu_millis=1,
        memory_bytes=1,
        disk_bytes=1,
    )
    due.enrol(10)
    snapshot = snapshots.begin(tenant, SnapshotReason.PERIODIC)
    path = tmp_path / tenant.public_id / snapshot.public_id
    path.parent.mkdir()
    path.write_bytes(b"archive")
    sha = hashlib.sha256(b"archive").hexdigest()
    return snapshots.kept(snapshot, Saved("", sha, 7, 2048, 2, 0.0))


def test_a_merchant_reads_how_old_the_newest_copy_is(
    page: Browser, cast: Cast, kept: Snapshot
) -> None:
    body = page(cast.alice).get("/shops/acme/").content.decode()
    assert "All changes are in a copy up to" in body
    assert f"/shops/acme/restore/{kept.public_id}/" in body
    japanese = page(cast.alice).get("/shops/acme/", headers={"Accept-Language": "ja"})
    assert "データのコピー" in japanese.content.decode()
    SnapshotSchedule.objects.update(failures=2, message="host local at 100.96.0.1: no answer")
    body = page(cast.alice).get("/shops/acme/").content.decode()
    assert "The last copy failed" in body
    assert "100.96.0.1" not in body


def test_a_copy_can_be_made_now_and_not_all_the_time(
    page: Browser, cast: Cast, kept: Snapshot
) -> None:
    client = page(cast.alice)
    body = client.post("/shops/acme/snapshots/", follow=True).content.decode()
    assert "A copy of your data is being made" in body
    assert SnapshotSchedule.objects.get().is_asked
    for _ in range(12):
        client.post("/shops/acme/snapshots/")
    body = client.post("/shops/acme/snapshots/", follow=True).content.decode()
    assert "asked for many copies" in body


def test_before_going_back_it_is_said_that_visitors_may_wait_long_for_a_large_copy(
    page: Browser, cast: Cast, kept: Snapshot
) -> None:
    path = f"/shops/acme/restore/{kept.public_id}/"
    said = {
        "en": "After 15 seconds they see a page that says that the shop will be back",
        "ja": "15 秒待った訪問者には",
    }
    for language, sentence in said.items():
        answer = page(cast.alice).get(path, headers={"Accept-Language": language})
        assert sentence in answer.content.decode()


@pytest.mark.parametrize("typed", ["", "acm", "restore"])
def test_a_wrong_word_restores_nothing(
    page: Browser, cast: Cast, kept: Snapshot, typed: str
) -> None:
    path = f"/shops/acme/restore/{kept.public_id}/"
    assert page(cast.alice).post(path, {"typed": typed}).status_code == 400
    assert not Operation.objects.filter(verb=Verb.RESTORE).exists()


def test_typing_its_name_takes_the_shop_back_and_shows_how_it_goes(
    page: Browser, cast: Cast, kept: Snapshot
) -> None:
    path = f"/shops/acme/restore/{kept.public_id}/"
    answer = page(cast.alice).post(path, {"typed": "acme"}, follow=True)
    operation = Operation.objects.get(verb=Verb.RESTORE)
    assert answer.redirect_chain == [(f"/operations/{operation.public_id}/", 302)]
    body = answer.content.decode()
    assert "Your shop is going back to earlier data" in body
    assert "Copy the data as it is now" in body


def test_anothers_shop_and_copy_are_not_there(page: Browser, cast: Cast, kept: Snapshot) -> None:
    make_shop(cast.bob, "bobs", state=TenantState.LIVE)
    for path in (
        f"/shops/acme/restore/{kept.public_id}/",
        f"/shops/bobs/restore/{kept.public_id}/",
    ):
        assert page(cast.bob).get(path).status_code == 404
        assert page(cast.bob).post(path, {"typed": "bobs"}).status_code == 404
    assert page(cast.bob).post("/shops/acme/snapshots/").status_code == 404
    assert not Operation.objects.filter(verb=Verb.RESTORE).exists()


def test_an_operator_sees_each_copy_and_can_go_back_by_typing_the_name(
    page: Browser, cast: Cast, kept: Snapshot
) -> None:
    tenant = tenant_of("acme")
    body = page(cast.olga).get(f"/operator/tenants/{tenant.public_id}/").content.decode()
    assert kept.public_id in body
    assert "oldest copy of data" in page(cast.olga).get("/operator/").content.decode()
    path = f"/operator/tenants/{tenant.public_id}/restore/{kept.public_id}/"
    assert page(cast.alice).get(path).status_code in {302, 403, 404}
    assert page(cast.olga).get(path).status_code == 200
    assert page(cast.olga).post(path, {"typed": "x"}).status_code == 400
    answer = page(cast.olga).post(path, {"typed": "acme"})
    operation = Operation.objects.get(verb=Verb.RESTORE)
    assert answer["Location"] == f"/operator/operations/{operation.public_id}/"
