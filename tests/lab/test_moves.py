"""Shops move between real hosts under load: nobody is told away, nothing is sold twice or lost."""

import time
from typing import Any

import pytest

from bench.parts.visitors import Visitors, lost_orders
from tests.lab.machines import HOSTS, Lab, until

# Always with bin/test --all: the moves of test_chaos.py and the flow's own tests are in every run.
pytestmark = [pytest.mark.lab, pytest.mark.stack, pytest.mark.slow, pytest.mark.long]

SHOPS = 6
# The figure, 1.5 s, is measured by bench/moves.py; here others are at work on the machine too.
LONGEST_MS = 4000


def test_a_host_is_emptied_under_load_without_a_failed_request_or_a_lost_order(lab: Lab) -> None:
    slugs = [f"leaves{number}" for number in range(SHOPS)]
    lab.sign_up(*slugs, on="host2")
    visitors = Visitors(lab.stack.port, slugs, looks_per_second=20, orders_per_second=2).start()
    try:
        time.sleep(1)
        begun = lab.stack.api.post("/api/v1/hosts/host2/drain")
        assert begun.status_code == 202, begun.text
        taken = until(lambda: drain(lab)["state"] != "running", seconds=60, told=lambda: drain(lab))
    finally:
        seen = visitors.stop()

    told = drain(lab)
    assert (told["state"], told["left"], told["still_there"]) == ("done", 0, 0)
    assert told["moved"] >= SHOPS
    assert seen.failed == 0, seen.statuses
    assert seen.longest_ms < LONGEST_MS
    assert seen.order_count > 0
    assert lost_orders(lab.stack.port, seen.orders) == []
    for slug in slugs:
        assert lab.place(slug) in {"local", "host3"}
        assert lab.copies(slug) == [lab.place(slug)]
    assert lab.sql("SELECT state FROM tenants_host WHERE name = 'host2'") == [["cordoned"]]
    print(
        f"{told['moved']} shops left in {taken:.1f} s, {len(seen.requests)} requests, longest "
        f"{seen.longest_ms:.0f} ms, {seen.order_count} orders"
    )
    lab.stack.api.post("/api/v1/hosts/host2/uncordon")


def test_a_worker_killed_in_the_middle_of_moves_is_followed_by_one_that_ends_each_once(
    lab: Lab,
) -> None:
    slugs = [f"killed{number}" for number in range(3)]
    lab.sign_up(*slugs, on="host3")
    visitors = Visitors(lab.stack.port, slugs, looks_per_second=6, orders_per_second=1).start()
    try:
        time.sleep(1)
        asked = [
            lab.stack.api.post(f"/api/v1/tenants/{slug}/move", json={"to": "host2"}).json()
            for slug in slugs
        ]
        # As soon as one stands still: held, stopped, and not yet started again.
        until(
            lambda: bool(
                lab.count(
                    "tenants_operation WHERE verb = 'move' AND phase IN ('stop', 'carry', 'start')"
                )
            ),
            seconds=20,
            every=0.01,
        )
        lab.stack.kill("control")
        for one in asked:
            ended = lab.stack.wait(one["operation"]["id"], seconds=60)
            assert ended["state"] == "succeeded", ended
        time.sleep(1)
    finally:
        seen = visitors.stop()

    for slug in slugs:
        assert lab.place(slug) == "host2"
        assert lab.copies(slug) == ["host2"]
    moves = lab.sql(
        "SELECT tenant.slug, count(*), bool_and(one.ended_at IS NOT NULL) FROM tenants_move AS one"
        " JOIN tenants_instance AS instance ON instance.id = one.instance_id"
        " JOIN tenants_tenant AS tenant ON tenant.id = instance.tenant_id"
        " WHERE tenant.slug LIKE 'killed%' GROUP BY tenant.slug ORDER BY tenant.slug"
    )
    assert moves == [[slug, "1", "t"] for slug in slugs]
    assert lost_orders(lab.stack.port, seen.orders) == []
    assert lab.all_serve(slugs)


def test_a_move_that_is_called_off_leaves_the_shop_and_nothing_else(lab: Lab) -> None:
    lab.sign_up("stays", on="host3")
    lab.mark("stays", "kept")
    asked = lab.stack.api.post("/api/v1/tenants/stays/move", json={"to": "host2"}).json()
    lab.stack.api.post(f"/api/v1/operations/{asked['operation']['id']}/cancel")
    ended = lab.stack.wait(asked["operation"]["id"])
    where = "host3" if ended["state"] == "cancelled" else "host2"
    assert lab.place("stays") == where
    assert lab.copies("stays") == [where]
    assert lab.mark_of("stays") == "kept"
    instance = lab.instance("stays")
    until(
        lambda: (
            [
                host
                for host in HOSTS
                if lab.count(
                    "tenants_hostreport AS report JOIN tenants_host AS host ON host.id = report.host_id"
                    f" WHERE host.name = '{host}' AND report.inventory::text LIKE '%{instance}%'"
                )
            ]
            == [where]
        )
    )


def drain(lab: Lab) -> dict[str, Any]:
    """How far the emptying of host2 has come."""
    told: dict[str, Any] = lab.stack.api.get("/api/v1/hosts/host2/drain").json()
    return told
