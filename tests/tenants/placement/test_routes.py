"""Routes are numbered in the order in which they commit, and edges get the whole table as one moment."""

import hashlib
import json
from typing import Any

import pytest
from django.db import transaction

from tenants.errors import RouteRefusedError
from tenants.operations import attempts, leases
from tenants.placement import route_table, routes
from tenants.placement.models import Route
from tenants.pool.models import Edge
from tenants.shops import removals
from tenants.shops.models import Tenant
from tests.factories import make_shop, race


def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(b"".join(route_table.route_table()))
    return table


@pytest.mark.django_db
def test_every_change_of_a_hostname_has_a_higher_number() -> None:
    tenant = make_shop().tenant
    changes = [
        routes.to_hold(tenant),
        routes.to_address(tenant, address="100.96.0.1", port=10000),
        routes.withdraw(tenant),
    ]
    assert [change.value for change in changes] == [
        "acme@hold",
        "acme@100.96.0.1:10000",
        "",
    ]
    sequences = [change.sequence for change in changes]
    assert sequences == sorted(set(sequences))
    assert Route.objects.get().sequence == sequences[-1]


@pytest.mark.django_db
def test_a_name_taken_again_goes_on_with_the_numbers_of_its_hostname() -> None:
    first = make_shop().tenant
    old = routes.withdraw(first)
    lease = leases.claim(removals.request(first).pk, owner="worker")
    assert lease is not None
    attempts.succeed(lease)
    removals.record_removed(Tenant.objects.get(), first.instances.get())
    second = make_shop().tenant
    new = routes.to_hold(second)
    assert new.hostname == old.hostname
    assert new.sequence > old.sequence
    assert Route.objects.get().tenant == second


@pytest.mark.django_db(transaction=True)
def test_changes_of_one_tenant_at_once_are_numbered_as_they_commit() -> None:
    tenant = make_shop().tenant
    routes.to_hold(tenant)

    def change(port: int) -> tuple[int, int]:
        with transaction.atomic():
            made = routes.to_address(tenant, address="100.96.0.1", port=port)
            kept = Route.objects.get(hostname=made.hostname)
        return made.sequence, kept.sequence

    found = race(*(lambda port=port: change(port) for port in range(10000, 10006)))
    assert all(isinstance(one, tuple) and one[0] == one[1] for one in found), found
    assert Route.objects.get().sequence == max(one[0] for one in found)  # type: ignore[index]


@pytest.mark.django_db
def test_an_empty_table_is_whole_too() -> None:
    assert _table() == {"routes": [], "sequence": 0, "digest": hashlib.sha256().hexdigest()}


@pytest.mark.django_db
def test_the_table_holds_open_routes_and_counts_withdrawn_ones_in_its_sequence() -> None:
    shops = [make_shop(slug).tenant for slug in ("zoo", "aa-1", "aa1")]
    for port, tenant in enumerate(shops, start=10000):
        routes.to_address(tenant, address="100.96.0.1", port=port)
    last = routes.withdraw(shops[0])
    table = _table()
    assert [row[0] for row in table["routes"]] == ["aa-1.localhost", "aa1.localhost"]
    assert table["sequence"] == last.sequence
    lines = "\n".join(f"{host} {value} {number}" for host, value, number in sorted(table["routes"]))
    assert table["digest"] == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 4999, 5000, 5001, 10000])
def test_a_table_of_any_length_is_well_formed(count: int) -> None:
    tenant = make_shop().tenant
    Route.objects.bulk_create(
        Route(hostname=f"s{n}.localhost", tenant=tenant, value=f"s{n}@hold", sequence=n + 1)
        for n in range(count)
    )
    table = _table()
    assert len(table["routes"]) == table["sequence"] == count
    lines = "\n".join(f"{host} {value} {number}" for host, value, number in sorted(table["routes"]))
    assert table["digest"] == hashlib.sha256(lines.encode()).hexdigest()


def _edge(name: str = "local", **accepts: Any) -> None:
    told = {"networks": ["100.96.0.0/16"], "ports": [10000, 20000], "console": "localhost"}
    Edge.objects.create(name=name, is_synced=True, accepts=told | accepts)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "port", "said"),
    [
        ("100.96.0.1", 20001, "edge local cannot lead there: port 20001 lies outside 10000-20000"),
        ("100.97.0.1", 10000, "100.97.0.1 lies outside 100.96.0.0/16"),
    ],
)
def test_a_route_that_an_edge_cannot_serve_is_refused_before_it_is_recorded(
    address: str, port: int, said: str
) -> None:
    _edge()
    _edge("wide", networks=["0.0.0.0/0"], ports=[1, 65535])
    with pytest.raises(RouteRefusedError, match=said):
        routes.to_address(make_shop().tenant, address=address, port=port)
    assert not Route.objects.exists()


@pytest.mark.django_db
def test_an_edge_that_has_not_said_what_it_takes_or_is_out_of_step_refuses_nothing() -> None:
    Edge.objects.create(name="older", is_synced=True)
    _edge("away", ports=[1, 2])
    Edge.objects.filter(name="away").update(is_synced=False)
    assert routes.to_address(make_shop().tenant, address="100.96.0.1", port=10000).sequence


@pytest.mark.django_db
def test_the_name_of_the_platforms_own_pages_is_no_shops() -> None:
    _edge(console="acme.localhost")
    with pytest.raises(RouteRefusedError, match="the name of the platform's own pages"):
        routes.to_address(make_shop("acme").tenant, address="100.96.0.1", port=10000)
