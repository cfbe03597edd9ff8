"""What processes count adds up, and no count is lost."""

import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction

from controlplane.monitoring import metrics as page
from tenants.core import metrics
from tenants.core.metric_sums import Shipper
from tenants.core.models import MetricSum
from tests.support.metric_samples import Process, at, samples


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
