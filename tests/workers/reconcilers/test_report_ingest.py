"""What agents report becomes rows, and only what changed is written."""

from collections.abc import Callable
from datetime import timedelta
from typing import cast

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants.core import alarms
from tenants.core.models import Alarm, PeriodicRun
from tenants.pool import overview
from tenants.pool.models import Edge, HostReport
from tenants.usage.models import HostUsage
from tests.workers.conftest import World, make_host
from tests.workers.reconcilers.conftest import SAMPLE, Reports
from workers.pool import mapping, reader
from workers.reconcilers import host_health, instances, report_ingest, sweep


def test_a_first_report_is_written_down(world: World, reports: Reports) -> None:
    HostReport.objects.all().delete()
    reports.host()
    assert report_ingest.observe() == "1 of 2 heard"
    row = HostReport.objects.get()
    assert (row.boot_id, row.digest, row.sequence) == ("boot-1", "d1", 4)
    assert row.inventory == reports.fields["inventory"]
    assert (row.used_cpu_millis, row.used_memory_bytes, row.used_disk_bytes) == (150, 10, 20)
    assert PeriodicRun.objects.get(name="observe").note == "1 of 2 heard"


LARGE = ('"tenants_hostreport"."inventory"', '"tenants_host"."load"')


def large_reads(work: Callable[[], object]) -> list[str]:
    """The statements of a round that read what is large of every host."""
    with CaptureQueriesContext(connection) as asked:
        work()
    assert len(asked) > 0
    # Locked is one host whose sums are put right.
    selects = [
        one["sql"]
        for one in asked
        if one["sql"].startswith("SELECT") and "FOR NO KEY UPDATE" not in one["sql"]
    ]
    return [sql for sql in selects if any(column in sql.split(" FROM ")[0] for column in LARGE)]


@pytest.mark.parametrize(
    "work",
    [
        report_ingest.observe,
        sweep.tidy,
        lambda: host_health.adopt_hosts(cast(host_health.HealthCalls, None)),
        lambda: overview.hosts(timezone.now()),
    ],
    ids=["observe", "tidy", "adopt", "page and API"],
)
def test_no_round_and_no_page_reads_what_every_host_holds(
    world: World, reports: Reports, work: Callable[[], object]
) -> None:
    world.live_tenant()
    HostReport.objects.update(conditions=[{"kind": "x", "message": "y"}])
    reports.host(conditions=[{"kind": "x", "message": "y"}])
    report_ingest.observe()
    HostReport.objects.update(seen_at=Now() - timedelta(seconds=4))
    reports.host(conditions=[{"kind": "x", "message": "y"}])
    assert large_reads(work) == []


def test_reconcile_holds_a_portion_of_the_reports_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        make_host(f"more-{number}")
    monkeypatch.setattr(instances, "PORTION", 2)
    read = large_reads(lambda: instances.carry_out(world.clients.driver_for))
    assert len(read) == 3
    assert not any('"tenants_host"."load"' in sql for sql in read)


def test_an_unchanged_report_is_not_written_again_at_once(world: World, reports: Reports) -> None:
    reports.host()
    reports.edge()
    report_ingest.observe()
    with CaptureQueriesContext(connection) as queries:
        report_ingest.observe()
    written = [q["sql"] for q in queries if q["sql"].startswith(("UPDATE", "INSERT"))]
    assert [sql for sql in written if "tenants_periodicrun" not in sql] == []


def test_a_heartbeat_is_written_every_few_seconds(world: World, reports: Reports) -> None:
    reports.host()
    report_ingest.observe()
    HostReport.objects.update(seen_at=Now() - timedelta(seconds=4))
    reports.host(seq=6)
    report_ingest.observe()
    row = HostReport.objects.get()
    assert row.sequence == 6
    assert timezone.now() - row.seen_at < timedelta(seconds=2)


def test_a_changed_inventory_is_written_at_once(world: World, reports: Reports) -> None:
    reports.host()
    report_ingest.observe()
    reports.host(digest="d2", inventory=[])
    report_ingest.observe()
    assert (HostReport.objects.get().digest, HostReport.objects.get().inventory) == ("d2", [])


LOW = {"kind": "disk_low", "message": "the tenants' store is 87 % full (of 2.0 GiB)"}


def test_what_a_host_says_is_wrong_with_it_is_written_at_once_and_stops_placement(
    world: World, reports: Reports
) -> None:
    reports.host()
    report_ingest.observe()
    assert reader.read().disk_trouble == {}
    reports.host(conditions=[LOW])
    report_ingest.observe()
    assert HostReport.objects.get().conditions == [LOW]
    assert reader.read().disk_trouble == {0: LOW["message"]}
    reports.host(conditions=[])
    report_ingest.observe()
    assert HostReport.objects.get().conditions == []


@pytest.mark.parametrize("told", ["low", [LOW] * 11, ["low"], [{"kind": "disk_low"}]])
def test_conditions_that_make_no_sense_are_not_written(
    world: World, reports: Reports, told: object
) -> None:
    reports.host()
    report_ingest.observe()
    reports.host(conditions=told, digest="d2")
    report_ingest.observe()
    row = HostReport.objects.get()
    assert (row.digest, row.conditions) == ("d1", [])


@pytest.mark.parametrize(
    "flood",
    [
        {"inventory": [{"instance_id": f"ins_{n:08}", "state": "running"} for n in range(5000)]},
        {"inventory": [{"instance_id": "ins_aaaaaaaa", "state": "running", "words": "x" * 10**6}]},
        {"samples": [SAMPLE] * 5000},
        {"samples": [SAMPLE | {"pids": 10**4000}] * 100},
        {"samples": [{"instance_id": "ins_aaaaaaaa"}]},
    ],
    ids=["entries", "an entry", "samples", "numbers", "no sample"],
)
def test_a_flood_is_refused_and_the_host_still_counts_as_heard(
    world: World, reports: Reports, flood: dict[str, object]
) -> None:
    reports.host(samples=[])
    report_ingest.observe()
    HostReport.objects.update(seen_at=Now() - timedelta(seconds=60))
    reports.fields |= {"digest": "d2", "seq": 9, "samples": []} | flood
    reports.host()
    report_ingest.observe()
    row = HostReport.objects.get()
    assert row.digest == ("d1" if "inventory" in flood else "d2")
    assert timezone.now() - row.seen_at < timedelta(seconds=5)
    assert not HostUsage.objects.exists()
    assert Alarm.objects.filter(key__startswith="report.", cleared_at=None).count() == 1
    reports.host(samples=[], inventory=[])
    report_ingest.observe()
    assert not Alarm.objects.filter(cleared_at=None).exists()


def test_a_report_that_is_no_text_or_too_large_blinds_nobody(
    world: World, reports: Reports
) -> None:
    for make in (
        lambda: reports.client.lpush("report.host.local", "x"),
        lambda: reports.client.set("report.host.local", b"x" * 9 * 2**20, ex=30),
    ):
        reports.client.delete("report.host.local")
        make()
        reports.edge()
        assert report_ingest.observe() == "1 of 2 heard"


def test_many_large_reports_are_read_in_portions(
    world: World, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_ingest, "PORTION_BYTES", 100)
    reports.host()
    reports.edge()
    assert [
        len(one) for one in report_ingest._portions(["host.local", "host.gone", "edge.local"])
    ] == [
        1,
        1,
    ]
    assert report_ingest.observe() == "2 of 2 heard"


def test_an_old_report_does_not_make_a_host_look_alive(world: World, reports: Reports) -> None:
    HostReport.objects.all().delete()
    reports.host(seconds_ago=12)
    report_ingest.observe()
    age = timezone.now() - HostReport.objects.get().seen_at
    assert timedelta(seconds=11) < age < timedelta(seconds=14)
    assert reader.read().is_seen.tolist() == [False]


def test_an_edge_is_ready_while_it_says_so(world: World, reports: Reports) -> None:
    reports.edge()
    report_ingest.observe()
    assert [(seat.is_live, seat.is_ready) for seat in mapping.edges()] == [(True, True)]
    assert Edge.objects.get().applied_sequence == 7
    reports.edge(ready=False)
    report_ingest.observe()
    assert [(seat.is_live, seat.is_ready) for seat in mapping.edges()] == [(True, False)]


@pytest.mark.parametrize(
    "nonsense",
    [
        {"digest": 5},
        {"digest": "d" * 65},
        {"inventory": "all"},
        {"seq": -1},
        {"seq": "4"},
        {"usage": []},
        {"usage": {"cpu_millis": 1}},
        {"v": 2},
    ],
)
def test_a_report_that_is_not_one_hides_nobody_else(
    world: World, reports: Reports, nonsense: dict[str, object]
) -> None:
    HostReport.objects.all().delete()
    reports.fields |= nonsense
    reports.host()
    reports.edge(applied=8)
    report_ingest.observe()
    assert not HostReport.objects.exists()
    assert Edge.objects.get().applied_sequence == 8


def test_an_inventory_is_as_old_as_its_agent_says_by_the_brokers_clock(
    world: World, reports: Reports
) -> None:
    seconds, micros = reports.client.time()
    reports.host(seconds_ago=1, began_ms=seconds * 1000 + micros // 1000 - 5000)
    report_ingest.observe()
    row = HostReport.objects.get()
    assert row.inventory_at is not None
    ago = timezone.now() - row.inventory_at
    assert timedelta(seconds=5) <= ago < timedelta(seconds=7)
    assert timezone.now() - row.seen_at < timedelta(seconds=3)


@pytest.mark.parametrize("told", [None, "5", True, -1, 0, 2**60, 10**400, 1e300, [], "the future"])
def test_whoever_does_not_say_when_it_began_to_collect_is_given_as_long_as_any_report_takes(
    world: World, reports: Reports, told: object
) -> None:
    HostReport.objects.all().delete()
    if told == "the future":  # by the broker's clock: later than the report itself came
        told = reports.client.time()[0] * 1000 + 3000
    reports.host(seconds_ago=5, began_ms=told)
    report_ingest.observe()
    row = HostReport.objects.get()
    assert row.inventory_at is not None
    ago = row.seen_at - row.inventory_at
    assert (
        report_ingest.COLLECTED_WITHIN
        <= ago
        < report_ingest.COLLECTED_WITHIN + timedelta(seconds=1)
    )


def test_an_inventory_that_began_absurdly_long_ago_is_an_old_one(
    world: World, reports: Reports
) -> None:
    reports.host(began_ms=1)
    report_ingest.observe()
    row = HostReport.objects.get()
    assert row.inventory_at is not None
    assert row.inventory_at < timezone.now() - timedelta(minutes=59)


def test_an_inventory_that_stays_because_the_next_is_refused_becomes_no_younger(
    world: World, reports: Reports
) -> None:
    reports.host()
    report_ingest.observe()
    HostReport.objects.update(
        seen_at=Now() - timedelta(seconds=60), inventory_at=Now() - timedelta(seconds=61)
    )
    before = HostReport.objects.get().inventory_at
    reports.host(digest="d2", inventory="all")
    report_ingest.observe()
    row = HostReport.objects.get()
    assert (row.digest, row.inventory_at) == ("d1", before)
    assert timezone.now() - row.seen_at < timedelta(seconds=5)


def test_what_an_edge_takes_and_what_it_left_out_is_written_down_and_an_alarm(
    world: World, reports: Reports
) -> None:
    accepts = {"networks": ["100.96.0.0/16"], "ports": [10000, 20000], "console": "localhost"}
    reports.edge(accepts=accepts, refused=["bad.localhost: port 1 is no host's"])
    report_ingest.observe()
    edge = Edge.objects.get()
    assert (edge.accepts, edge.refused) == (accepts, ["bad.localhost: port 1 is no host's"])
    alarms.keep("edge", sweep._refusing())
    assert "bad.localhost" in Alarm.objects.get(key="edge.local.refused", cleared_at=None).message
    reports.edge(accepts={**accepts, "networks": ["everywhere"]}, digest="y")
    report_ingest.observe()
    assert Edge.objects.get().digest == "x", "a report that is not understood changes nothing"
    reports.edge(digest="z")
    report_ingest.observe()
    alarms.keep("edge", sweep._refusing())
    assert (Edge.objects.get().accepts, Edge.objects.get().refused) == ({}, [])
    assert not Alarm.objects.filter(key="edge.local.refused", cleared_at=None).exists()
