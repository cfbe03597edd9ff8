"""Emptying hosts and moving shops by API."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from tenants.accounts.models import Member
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool.models import Drain, Host, HostReport
from tenants.shops.models import Instance, Membership
from tenants.states import HostState, InstanceState, OperationState, TenantState
from tests.factories import make_host, make_shop
from tests.tenants.api.conftest import Program


@pytest.fixture
def shop(db: None) -> Instance:
    one = make_host("one")
    made = make_shop("acme")
    Operation.objects.update(state=OperationState.SUCCEEDED)
    made.tenant.state = TenantState.LIVE
    made.tenant.save()
    Instance.objects.update(state=InstanceState.RUNNING)
    Placement.objects.create(
        instance=Instance.objects.get(),
        host=one,
        port=10_000,
        cpu_millis=10,
        memory_bytes=1,
        disk_bytes=1,
    )
    return Instance.objects.get()


def test_a_host_is_emptied_watched_and_opened_again(operator: Program, shop: Instance) -> None:
    HostReport.objects.create(
        host=make_host("two"),
        seen_at=Now() + timedelta(hours=1),  # heard all the time, however slow the machine is
        boot_id="b",
        sequence=1,
        digest="d",
    )
    assert operator.get("hosts/one/drain").status_code == 404
    begun = operator.post("hosts/one/drain", {})
    assert begun.status_code == 202
    assert (begun.json()["total"], begun.json()["state"]) == (1, "running")
    assert operator.post("hosts/one/drain", {}).status_code == 409
    assert operator.get("hosts/one/drain").json()["left"] == 1
    assert operator.delete("hosts/one/drain").json()["state"] == "cancelled"
    assert Host.objects.get(name="one").state == HostState.OPEN
    assert operator.delete("hosts/one/drain").status_code == 409


def test_no_room_is_refused_with_the_numbers(operator: Program, shop: Instance) -> None:
    refused = operator.post("hosts/one/drain", {})
    assert (refused.status_code, refused.json()["code"]) == (503, "no_room")
    assert "0 of the 1 shops on one" in refused.json()["detail"]
    assert not Drain.objects.exists()


def test_a_shop_is_moved_to_a_host_or_to_the_best(operator: Program, shop: Instance) -> None:
    make_host("two")
    asked = operator.post("tenants/acme/move", {"to": "two"})
    assert asked.status_code == 202
    operation = Operation.objects.get(verb="move")
    assert asked.json()["operation"]["id"] == operation.public_id
    assert operation.arguments["to"] == "two"
    assert operator.post("tenants/acme/move", {}).status_code == 409
    assert operator.post("tenants/none/move", {}).status_code == 404
    assert operator.post("tenants/acme/move", {"to": "none"}).status_code == 404


def test_members_may_neither(alices: Program, shop: Instance) -> None:
    assert alices.post("hosts/one/drain", {}).status_code == 403
    assert alices.get("hosts/one/drain").status_code == 403
    assert alices.post("tenants/acme/move", {}).status_code == 403
    assert not HostReport.objects.exists()


def test_a_merchant_follows_the_move_of_a_shop_but_cannot_stop_it(
    operator: Program, alices: Program, alice: Member, shop: Instance
) -> None:
    make_host("two")
    Membership.objects.create(tenant=shop.tenant, member=alice)
    moved = operator.post("tenants/acme/move", {}).json()["operation"]["id"]
    assert alices.get(f"operations/{moved}").status_code == 200
    assert alices.post(f"operations/{moved}/cancel").status_code == 409
    assert operator.post(f"operations/{moved}/cancel").status_code == 202
