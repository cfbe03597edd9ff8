"""/metrics: who may read it, that it is true, that it stays small and cheap, and that no count is lost."""

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client import CollectorRegistry, Counter, Histogram, Summary
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from controlplane.monitoring import metrics as page
from runtime.driver import Driver
from runtime.errors import by_code
from tenants.accounts import tokens
from tenants.core import metric_queries, metrics
from tenants.core.metric_sums import Shipper
from tenants.core.models import Alarm, MetricSum, PeriodicRun, ProgramBeat
from tenants.operations import steps
from tenants.operations.models import Operation
from tenants.pool.models import Edge, Host
from tenants.states import Verb
from tests.factories import make_edge, make_host, make_member, make_shop
from workers.broker.commands import broker
from workers.scheduler import filters
from workers.scheduler.demand_vector import RESOURCES

REPO = Path(__file__).resolve().parents[3]
# What is fresh stays so, however slow the machine is that runs the test.
LATER = Now() + timedelta(minutes=5)
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples() -> Samples:
    """What /metrics says now, read as Prometheus' own client reads it."""
    families = text_string_to_metric_families(page.read().decode())
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in families
        for one in family.samples
    }


def at(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


@pytest.fixture
def clean() -> Iterator[None]:
    """What tests make of labels is not there before and after: the registry is the process's own."""
    for turn in range(2):
        for one in vars(metrics).values():
            if isinstance(one, Counter | Histogram | Summary) and one is not metrics.CLAIM:
                one.clear()
        if turn == 0:
            yield


# Who may read it ---------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_operators_token_reads_it(client: Client, redis_url: str) -> None:
    token = tokens.create("prometheus", is_operator=True).text
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=")
    assert "no-store" in answer["Cache-Control"]
    assert b"# TYPE stoa_hosts gauge" in answer.content


@pytest.mark.django_db
def test_nobody_else_does(client: Client) -> None:
    operator = make_member("operator@example.com", is_operator=True)
    merchants = tokens.create("merchant", member=make_member()).text
    operators_shops = tokens.create("own shops", member=operator).text
    ended = tokens.create("ended", is_operator=True)
    tokens.revoke(ended.token)
    for text, status in (
        ("", 401),
        (merchants, 403),
        (operators_shops, 403),
        (ended.text, 401),
        ("stoa_000000000000_" + "0" * 38, 401),
    ):
        headers = {"Authorization": f"Bearer {text}"} if text else {}
        answer = client.get("/metrics", headers=headers)
        assert answer.status_code == status
        assert b"stoa_hosts" not in answer.content
    client.force_login(operator)  # a page of another site could make a browser ask
    assert client.get("/metrics").status_code == 401


@pytest.mark.django_db
def test_a_shops_host_name_does_not_lead_to_it(client: Client) -> None:
    token = tokens.create("prometheus", is_operator=True).text
    answer = client.get(
        "/metrics",
        headers={"Authorization": f"Bearer {token}", "Host": "acme.localhost:8080"},
    )
    assert answer.status_code == 400


@pytest.mark.django_db
def test_it_is_not_read_anew_for_each_who_asks(client: Client, redis_url: str) -> None:
    page.text()
    with CaptureQueriesContext(connection) as queries:
        page.text()
    assert len(queries) == 0


# That it is true ----------------------------------------------------------------------------------


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
def test_without_the_broker_the_rest_is_told(settings: Settings) -> None:
    settings.STOA_BROKER_URL = "redis://127.0.0.1:1/0"
    broker.cache_clear()
    try:
        found = samples()
    finally:
        broker.cache_clear()
    assert at(found, "stoa_broker_up") == 0
    assert at(found, "stoa_hosts", state="open", health="alive") == 0


# That no count is lost -----------------------------------------------------------------------------


class Process:
    """A process of the control plane: counters of its own, and what it has sent of them."""

    def __init__(self, bounds: tuple[float, ...] = (0.1, 1.0)) -> None:
        self.registry = CollectorRegistry()
        self.failures = Counter(
            "stoa_round_failures", "x", ["round"], registry=self.registry
        ).labels("sweep")
        self.rounds = Summary(
            "stoa_round_duration_seconds", "x", ["round"], registry=self.registry
        ).labels("sweep")
        self.claims = Histogram(
            "stoa_operation_claim_duration_seconds", "x", buckets=bounds, registry=self.registry
        )
        self._shipper = Shipper(self.registry)

    def ship(self) -> int:
        return self._shipper.ship()


@pytest.mark.django_db
def test_processes_add_up_and_leave_their_sums_when_they_end(redis_url: str) -> None:
    one, two = Process(), Process()
    one.failures.inc(2)
    two.failures.inc()
    one.rounds.observe(0.5)
    two.rounds.observe(1.5)
    for seconds in (0.05, 0.5, 5):
        one.claims.observe(seconds)
        two.claims.observe(seconds)
    assert one.ship() == two.ship() == 3
    assert one.ship() == 0, "what was sent is not sent again"
    one.failures.inc()
    assert one.ship() == 1
    del one
    three = Process()  # takes the place of the one that ended, and begins at nothing
    three.failures.inc()
    three.ship()
    found = samples()
    name = "stoa_operation_claim_duration_seconds"
    assert at(found, "stoa_round_failures_total", round="sweep") == 5
    assert at(found, "stoa_round_duration_seconds_count", round="sweep") == 2
    assert at(found, "stoa_round_duration_seconds_sum", round="sweep") == 2
    assert [at(found, f"{name}_bucket", le=le) for le in ("0.1", "1.0", "+Inf")] == [2, 4, 6]
    assert at(found, f"{name}_count") == 6
    assert at(found, f"{name}_sum") == pytest.approx(11.1)


@pytest.mark.django_db
def test_a_histogram_that_has_other_bounds_begins_anew(redis_url: str) -> None:
    old, new = Process(), Process(bounds=(0.2, 1.0, 2.0))
    old.claims.observe(0.1)
    old.ship()
    new.claims.observe(1.5)
    new.ship()
    found = samples()
    name = "stoa_operation_claim_duration_seconds_bucket"
    assert [at(found, name, le=le) for le in ("0.2", "1.0", "2.0", "+Inf")] == [0, 0, 1, 1]
    assert (name, frozenset({("le", "0.1")})) not in found


@pytest.mark.django_db
def test_sums_of_a_name_that_this_version_does_not_know_are_left_out(redis_url: str) -> None:
    MetricSum.objects.create(series='["stoa_of_another_version", {}]', sums=[1.0])
    assert b"another_version" not in page.read()


@pytest.mark.django_db(transaction=True)
def test_what_is_counted_while_the_database_takes_no_writes_is_sent_later(
    redis_url: str, clean: None
) -> None:
    process = Process()
    process.failures.inc(3)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        with pytest.raises(DatabaseError):
            process.ship()
    assert not MetricSum.objects.exists()
    process.failures.inc()
    assert process.ship() == 1
    assert at(samples(), "stoa_round_failures_total", round="sweep") == 4
    # And that it took none was an error of its own.
    Shipper(metrics.REGISTRY).ship()
    errors = {"dependency": "postgresql", "operation": "statement"}
    assert at(samples(), "stoa_dependency_errors_total", **errors) == 1


@pytest.mark.django_db
def test_a_database_that_cannot_be_reached_is_counted(clean: None) -> None:
    away = connections.create_connection("default")
    away.settings_dict = {**away.settings_dict, "HOST": "/nowhere"}
    with pytest.raises(OperationalError):
        away.ensure_connection()
    errors = {"dependency": "postgresql", "operation": "connect"}
    assert metrics.REGISTRY.get_sample_value("stoa_dependency_errors_total", errors) == 1


# That it stays small and cheap ----------------------------------------------------------------------


def count_everything() -> None:
    """One of every combination of labels that the product's words allow."""
    outcomes = (
        "done",
        "failed",
        "cancelled",
        "waits",
        "again later",
        "taken over",
        "left",
        "error",
    )
    for verb in Verb.values:
        for outcome in outcomes:
            with metrics.attempt(1, verb, age_seconds=1.0) as attempt:
                attempt.outcome = outcome
                for step in steps.names(verb):
                    metrics.begin_step(1, verb, step)
        metrics.DUE.labels(verb).observe(1.0)
    calls = {name for name in vars(Driver) if not name.startswith("_")}
    for name in calls | {"apply", "in_flight", "probe", "adopt"}:
        with metrics.call(name):
            time.sleep(0)
    for code in (*by_code(), "internal"):
        metrics.CALL_ERRORS.labels(code).inc()
    for kind in ("start", "move", "together"):
        metrics.PLACEMENTS.labels(kind).inc()
    words = {
        *RESOURCES,
        *(one.scarce for one in filters.FILTERS),
        "full",
        "busy",
        "unseen",
        "taken",
        "other hosts",
    } - {""}
    for by, reason in product(("sign_up", *Verb.values), words):
        metrics.REFUSALS.labels(by, reason).inc()
    count_rounds()
    for dependency, operation in product(
        ("postgresql", "redis", "broker"),
        ("connect", "statement", "call", "publish", "round", "probe"),
    ):
        metrics.DEPENDENCY_ERRORS.labels(dependency, operation).inc()


def count_rounds() -> None:
    """A round of every periodic task, which fails."""
    sources = "".join(path.read_text() for path in (REPO / "workers").rglob("*.py"))
    rounds = re.findall(r'^@once\("(\w+)"\)', sources, re.MULTILINE)
    assert len(rounds) > 15
    for name in rounds:
        with pytest.raises(ValueError, match="x"), metrics.round_of(name):
            raise ValueError("x")
        PeriodicRun.objects.create(name=name, started_at=Now(), finished_at=Now())


def many_hosts(count: int) -> None:
    fields = {
        "address": "100.96.0.1",
        "capacity_cpu_millis": 4000,
        "capacity_memory_bytes": 2**33,
        "capacity_disk_bytes": 2**36,
        "broker_secret_sha256": "0" * 64,
        "token_sha256": "0" * 64,
    }
    healths = ("alive", "unreachable", "lost")
    Host.objects.bulk_create(
        Host(name=f"host-{number}", health=healths[number % 3], **fields) for number in range(count)
    )


@pytest.mark.django_db
def test_two_thousand_hosts_and_every_label_make_at_most_2000_series(
    redis_url: str, clean: None
) -> None:
    many_hosts(2000)
    Alarm.objects.bulk_create(
        Alarm(key=f"silent.host.host-{number}", message="silent") for number in range(2000)
    )
    count_everything()
    Shipper(metrics.REGISTRY).ship()
    found = samples()
    assert len(found) <= 2000
    labels = {pair for _, labels in found for pair in labels}
    assert not [value for _, value in labels if "host-" in value]
    assert {name for name, _ in labels}.isdisjoint({"tenant", "slug", "host", "edge", "instance"})


@pytest.mark.django_db
def test_reading_takes_as_many_statements_for_a_large_pool_as_for_a_small(redis_url: str) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            page.read()
        return len(queries)

    before = statements()
    many_hosts(500)
    for number in range(20):
        make_shop(f"shop-{number}")
        make_edge(f"edge-{number}")
    process = Process()
    process.failures.inc()
    process.ship()
    assert statements() == before <= 8


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
