"""Copies of a shop's data over the API: listed, asked for, gone back to; another's are not there."""

import hashlib
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from tenants.accounts.models import Member
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.shops.models import Instance, Tenant
from tenants.snapshots import snapshots
from tenants.snapshots.models import Snapshot, SnapshotSchedule
from tenants.snapshots.snapshots import Saved
from tenants.states import InstanceState, SnapshotReason, TenantState, Verb
from tests.factories import make_host, make_shop
from tests.tenants.api.conftest import Program


@pytest.fixture
def kept(alice: Member, settings: Settings, tmp_path: Path) -> Snapshot:
    """A copy of Alice's shop `acme`, which runs."""
    settings.STOA_SNAPSHOTS = str(tmp_path)
    return keep(running_shop("acme", alice, make_host()), tmp_path)


def running_shop(slug: str, member: Member, host: Host) -> Tenant:
    made = make_shop(slug, member=member)
    Operation.objects.filter(pk=made.operation.pk).update(state="succeeded")
    Tenant.objects.filter(pk=made.tenant.pk).update(state=TenantState.LIVE)
    Instance.objects.filter(tenant=made.tenant).update(state=InstanceState.RUNNING)
    Placement.objects.create(
        instance=Instance.objects.get(tenant=made.tenant),
        host=host,
        port=10000 + made.tenant.pk % 1000,
        cpu_millis=1,
        memory_bytes=1,
        disk_bytes=1,
    )
    return Tenant.objects.get(pk=made.tenant.pk)


def keep(tenant: Tenant, place: Path) -> Snapshot:
    snapshot = snapshots.begin(tenant, SnapshotReason.PERIODIC)
    path = place / tenant.public_id / snapshot.public_id
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"archive")
    sha = hashlib.sha256(b"archive").hexdigest()
    return snapshots.kept(snapshot, Saved("", sha, 7, 4096, 2, 0.0))


def test_copies_are_listed_newest_first_with_when_the_next_is_due(
    alices: Program, kept: Snapshot, tmp_path: Path
) -> None:
    newer = keep(kept.tenant, tmp_path)
    answer = alices.get("tenants/acme/snapshots")
    assert answer.status_code == 200
    body = answer.json()
    assert body["results"][0]["id"] == newer.public_id
    assert body["results"][0]["volume_bytes"] == 4096
    assert body["schedule"]["period_minutes"] == 60
    assert "http" not in answer.content.decode()  # no address of an archive


def test_a_copy_can_be_asked_for_and_is_due_at_once(alices: Program, kept: Snapshot) -> None:
    answer = alices.post("tenants/acme/snapshots")
    assert answer.status_code == 202
    schedule = SnapshotSchedule.objects.get()
    assert schedule.is_asked
    for _ in range(11):
        alices.post("tenants/acme/snapshots")
    assert alices.post("tenants/acme/snapshots").status_code == 429


def test_a_restore_is_an_operation(alices: Program, kept: Snapshot) -> None:
    answer = alices.post("tenants/acme/restore", {"snapshot": kept.public_id})
    assert answer.status_code == 202
    operation = Operation.objects.get(verb=Verb.RESTORE)
    assert answer["Location"].endswith(operation.public_id)
    assert operation.arguments == {"snapshot": kept.public_id}
    again = alices.post("tenants/acme/restore", {"snapshot": kept.public_id})
    assert (again.status_code, again.json()["code"]) == (409, "operation_open")


@pytest.mark.parametrize("sent", [{}, {"snapshot": ""}, {"snapshot": 7}, []])
def test_a_restore_has_to_say_which_copy(alices: Program, kept: Snapshot, sent: object) -> None:
    answer = alices.post("tenants/acme/restore", sent)
    assert answer.status_code == 400
    assert not Operation.objects.filter(verb=Verb.RESTORE).exists()


def test_another_shops_copy_is_not_there(
    alice: Member, alices: Program, bobs: Program, kept: Snapshot
) -> None:
    assert bobs.post("tenants/acme/restore", {"snapshot": kept.public_id}).status_code == 404
    running_shop("beta", alice, kept_host(kept))
    # Not even one's own other shop: a shop's data is its own.
    answer = alices.post("tenants/beta/restore", {"snapshot": kept.public_id})
    assert answer.status_code == 404
    assert not Operation.objects.filter(verb=Verb.RESTORE).exists()


def kept_host(kept: Snapshot) -> Host:
    return Placement.objects.get(instance__tenant=kept.tenant).host
