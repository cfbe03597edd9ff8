"""What /metrics shows of the record: hosts, edges, operations, rounds; and that indexes serve it."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from tenants.core import metric_queries
from tenants.core.models import Alarm, PeriodicRun, ProgramBeat
from tenants.operations.models import Operation
from tenants.pool.models import Edge
from tests.factories import make_edge, make_host, make_shop
from tests.support.metric_samples import at, samples

# What is fresh stays so, however slow the machine is that runs the test.
LATER = Now() + timedelta(minutes=5)


@pytest.mark.django_db
def test_hosts_and_edges_are_told(redis_url: str) -> None:
    for name, fields in (
        ("a", {}),
        ("b", {"state": "cordoned"}),
        ("c", {"health": "lost"}),
        ("gone", {"state": "removed"}),
    ):
        make_host(name, **fields)  # type: ignore[arg-type]
    for name in ("ready", "behind", "silent"):
        make_edge(name)
    newest = 1000
    shop = make_shop().operation
    shop.tenant.routes.create(hostname="acme.localhost", value="x", sequence=newest)
    Edge.objects.exclude(name="silent").update(seen_at=LATER, is_synced=True)
    Edge.objects.filter(name="ready").update(applied_sequence=newest)
    Edge.objects.filter(name="behind").update(applied_sequence=newest - 12, is_synced=False)
    found = samples()
    assert at(found, "stoa_hosts", state="open", health="alive") == 1
    assert at(found, "stoa_hosts", state="cordoned", health="alive") == 1
    assert at(found, "stoa_hosts", state="open", health="lost") == 1
    assert at(found, "stoa_hosts", state="draining", health="lost") == 0
    for state in ("ready", "out_of_step", "silent"):
        assert at(found, "stoa_edges", state=state) == 1
    assert at(found, "stoa_edges_by_lag", lag="0") == 1
    assert at(found, "stoa_edges_by_lag", lag="under_100") == 1
    assert at(found, "stoa_edges_by_lag", lag="100_or_more") == 0
    assert at(found, "stoa_edge_lag_changes") == 12


@pytest.mark.django_db
def test_operations_and_the_line_are_told_with_their_age(redis_url: str) -> None:
    fresh, old = make_shop().operation, make_shop("old").operation
    Operation.objects.filter(pk=fresh.pk).update(queued_at=LATER)
    Operation.objects.filter(pk=old.pk).update(queued_at=Now() - timedelta(minutes=2))
    found = samples()
    about = {"verb": "provision", "state": "pending"}
    assert at(found, "stoa_operations", age="under_10s", **about) == 1
    assert at(found, "stoa_operations", age="under_5m", **about) == 1
    assert at(found, "stoa_operations", age="over_1h", **about) == 0
    assert 120 <= at(found, "stoa_operation_oldest_age_seconds", **about) < 240
    assert at(found, "stoa_line_length", lane="people") == 2
    assert at(found, "stoa_line_length", lane="urgent") == 0
    assert 120 <= at(found, "stoa_line_head_age_seconds", lane="people") < 240
    assert at(found, "stoa_line_head_age_seconds", lane="urgent") == 0


@pytest.mark.django_db
def test_rounds_programs_and_alarms_are_told(redis_url: str) -> None:
    ended = Now() - timedelta(seconds=90)
    PeriodicRun.objects.create(name="sweep", started_at=ended, finished_at=ended)
    beats = ProgramBeat.objects
    beats.create(name="control@a/1", program="control", hears_broker=True, at=LATER)
    beats.create(name="control@b/1", program="control", at=LATER)
    past = Now() - timedelta(minutes=1)
    beats.create(name="sweep@a/1", program="sweep", hears_broker=True, at=past)
    Alarm.objects.create(key="silent.host.c", message="c is silent")
    Alarm.objects.create(key="silent.host.d", message="d was silent", cleared_at=Now())
    found = samples()
    assert 90 <= at(found, "stoa_round_age_seconds", round="sweep") < 200
    assert at(found, "stoa_workers", program="control") == 2
    assert at(found, "stoa_workers_connected", program="control") == 1
    assert at(found, "stoa_workers", program="sweep") == 0
    assert at(found, "stoa_alarms", kind="silent") == 1
    assert at(found, "stoa_broker_up") == 1
    assert at(found, "stoa_queue_messages", queue="sweep") == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("statement", "indexes"),
    [
        # Either of the two that hold the open ones alone.
        (metric_queries._OPERATIONS, {"open_operation"}),
        (metric_queries._LINE, {"line_of_people", "line_of_urgent"}),
        (metric_queries._EDGES, {"tenants_route_sequence"}),
    ],
)
def test_what_reads_large_tables_can_use_their_indexes(statement: str, indexes: set[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {statement}", metric_queries._GIVEN)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert [name for name in indexes if name not in plan] == [], plan
    assert "Seq Scan on tenants_operation" not in plan
    assert "Seq Scan on tenants_route" not in plan
