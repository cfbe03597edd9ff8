"""Hosts die and lines break: shops come back, nothing runs twice, and what returns is fenced."""

import os
import time

import pytest

from tests.lab.machines import HOSTS, Lab, Line, until

pytestmark = [pytest.mark.lab, pytest.mark.stack, pytest.mark.slow]

# The figure is two minutes; bench/lab.py takes them.
PARTITION_SECONDS = float(os.environ.get("STOA_LAB_PARTITION_SECONDS", "25"))
BACK_SECONDS = 60


def test_a_host_that_dies_loses_no_shop_and_what_returns_of_it_is_fenced(lab: Lab) -> None:
    slugs = [f"dies{number}" for number in range(4)]
    lab.sign_up(*slugs, on="host2")
    lab.mark(slugs[0], "kept")
    lab.snapshot(*slugs)
    lab.mark(slugs[0], "too-late")

    lab.kill("host2")
    taken = until(
        lambda: lab.health("host2") == "lost" and lab.all_serve(slugs),
        seconds=BACK_SECONDS,
        told=lambda: (lab.health("host2"), lab.answers(slugs), lab.recoveries(*slugs)),
    )

    assert {lab.place(slug) for slug in slugs} <= {"local", "host3"}
    assert lab.mark_of(slugs[0]) == "kept", "the state of the last snapshot, and of no other moment"
    print(f"{len(slugs)} shops of a dead host serve again after {taken:.1f} s")
    until(lambda: sorted(lab.recoveries(*slugs)) == [[slug, "succeeded"] for slug in slugs])
    [[details]] = lab.sql(
        "SELECT event.details FROM tenants_instanceevent AS event JOIN tenants_tenant AS tenant"
        f" ON tenant.id = event.tenant_id WHERE tenant.slug = '{slugs[0]}' AND kind = 'recovered'"
    )
    assert '"lost_host": "host2"' in details
    assert '"taken_at"' in details
    assert '"lost_seconds"' in details

    lab.boot("host2")  # its keeper starts everything it last knew, asking nobody
    until(
        lab.all_alive,
        seconds=40,
        told=lambda: lab.sql("SELECT name, health, epoch FROM tenants_host"),
    )
    until(
        lambda: all(lab.copies(slug) == [lab.place(slug)] for slug in slugs),
        told=lambda: [(slug, lab.place(slug), lab.copies(slug)) for slug in slugs],
    )
    assert lab.all_serve(slugs)


@pytest.mark.long
def test_a_host_that_control_cannot_reach_goes_on_serving_and_is_not_lost(lab: Lab) -> None:
    slugs = [f"apart{number}" for number in range(3)]
    lab.sign_up(*slugs, on="host3")
    before = lab.sql("SELECT epoch FROM tenants_host WHERE name = 'host3'")

    lab.cut("host3", Line.CONTROL)
    try:
        end = time.monotonic() + PARTITION_SECONDS
        until(lambda: lab.health("host3") == "unreachable", seconds=20)
        while time.monotonic() < end:
            assert lab.all_serve(slugs), lab.answers(slugs)
            assert lab.health("host3") == "unreachable"
            assert all(lab.copies(slug) == ["host3"] for slug in slugs)
            time.sleep(0.5)
    finally:
        lab.heal("host3")

    until(lab.all_alive, seconds=40)
    assert lab.sql("SELECT epoch FROM tenants_host WHERE name = 'host3'") == before
    assert lab.recoveries(*slugs) == []
    assert all(lab.copies(slug) == ["host3"] == [lab.place(slug)] for slug in slugs)
    assert lab.all_serve(slugs)


@pytest.mark.long
def test_a_host_cut_off_from_all_is_lost_a_killed_worker_changes_nothing_and_its_return_is_fenced(
    lab: Lab,
) -> None:
    slugs = [f"gone{number}" for number in range(4)]
    lab.sign_up(*slugs, on="host3")
    lab.snapshot(*slugs)

    lab.cut("host3", Line.ALL)
    try:
        until(lambda: len(lab.recoveries(*slugs)) > 0, seconds=40, every=0.05)
        lab.stack.kill("control")  # in the middle of what it recovers
        until(
            lambda: lab.all_serve(slugs),
            seconds=BACK_SECONDS,
            told=lambda: (lab.answers(slugs), lab.recoveries(*slugs)),
        )
        # Its containers still run behind the broken line: the record and every route know better.
        assert all("host3" in lab.copies(slug) for slug in slugs)
        assert all(lab.place(slug) != "host3" for slug in slugs)
    finally:
        lab.heal("host3")

    until(
        lab.all_alive,
        seconds=40,
        told=lambda: lab.sql("SELECT name, health, epoch FROM tenants_host"),
    )
    until(
        lambda: all(lab.copies(slug) == [lab.place(slug)] for slug in slugs),
        told=lambda: [(slug, lab.place(slug), lab.copies(slug)) for slug in slugs],
    )
    until(
        lambda: sorted(lab.recoveries(*slugs)) == [[slug, "succeeded"] for slug in slugs],
        told=lambda: lab.recoveries(*slugs),
        seconds=60,
    )
    assert lab.all_serve(slugs)


@pytest.mark.long
def test_control_that_was_down_declares_nobody_lost_and_stops_no_shop(lab: Lab) -> None:
    lab.sign_up("calm", on="host2")
    programs = ("beat", "sweep", "control")
    for program in programs:
        lab.stack.stop(program)
    epochs = lab.sql("SELECT name, epoch FROM tenants_host ORDER BY name")
    end = time.monotonic() + 16
    while time.monotonic() < end:
        assert lab.answers(["calm"]) == {"calm": 200}
        time.sleep(0.5)
    for program in programs:
        lab.stack.start(program)
    until(lab.all_alive, seconds=30)
    assert lab.sql("SELECT name, epoch FROM tenants_host ORDER BY name") == epochs
    assert lab.copies("calm") == ["host2"]


def test_hosts_differ_in_address_and_none_has_a_way_out_of_the_machine(lab: Lab) -> None:
    rows = lab.sql("SELECT address FROM tenants_host WHERE state <> 'removed'")
    addresses = [row[0] for row in rows]
    assert len(set(addresses)) == len(HOSTS)
    assert lab.routes_out("host2") == []
