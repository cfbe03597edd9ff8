"""/metrics: who may read it, what it shows without the broker, and that it stays small and cheap."""

import re
import time
from itertools import product
from pathlib import Path

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from controlplane.monitoring import metrics as page
from runtime.driver import Driver
from runtime.errors import by_code
from tenants.accounts import tokens
from tenants.core import metrics
from tenants.core.metric_sums import Shipper
from tenants.core.models import Alarm, PeriodicRun
from tenants.operations import steps
from tenants.pool.models import Host
from tenants.states import Verb
from tests.factories import make_edge, make_member, make_shop
from tests.support.metric_samples import Process, at, samples
from workers.broker.commands import broker
from workers.scheduler import filters
from workers.scheduler.demand_vector import RESOURCES

REPO = Path(__file__).resolve().parents[3]


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
    for kind in ("start", "move"):
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
