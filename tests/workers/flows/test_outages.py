"""What the database or the broker did not let an operation do is not held against the operation."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.db.models.functions import Now

from tenants.core.models import PeriodicRun
from tenants.operations import leases
from tenants.operations import line as record
from tenants.operations.models import Operation
from tenants.states import OperationState
from tests.support.working import work
from tests.workers.conftest import World
from workers.flows.running import line, runner
from workers.reconcilers import sweep

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def apart() -> Iterator[None]:
    yield
    time.sleep(0.1)  # the thread that gives back closes its connection when it has no more to do


def wait_until_given_back(operation: Operation) -> Operation:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        row = Operation.objects.get(pk=operation.pk)
        if row.state == OperationState.PENDING and row.error_code == "away":
            return row
        time.sleep(0.05)
    raise AssertionError(f"not given back: {row.state} {row.error_code}")


@pytest.mark.parametrize(
    "error", [OperationalError("server closed the connection"), InterfaceError("already closed")]
)
def test_a_database_that_fails_in_the_middle_uses_up_no_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    operation = world.sign_up()

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(runner, "forward", fail)
        assert work(operation.pk, world.clients) == "left"
    row = wait_until_given_back(operation)
    assert (row.attempts, row.lease_until) == (0, None)
    time.sleep(0.7)
    assert work(operation.pk, world.clients) == "done"


@pytest.mark.parametrize("is_named", [False, True], ids=["of the line", "by name"])
def test_a_claim_whose_answer_was_lost_is_found_and_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch, is_named: bool
) -> None:
    operation = world.sign_up()
    claim_by = leases.claim_by

    def claim_and_lose(statement: str, chosen: dict[str, int | list[int]], *, owner: str) -> None:
        assert claim_by(statement, chosen, owner=owner) is not None
        raise OperationalError("server closed the connection unexpectedly")

    if is_named:
        Operation.objects.update(is_in_line=False)
    with monkeypatch.context() as patched:
        patched.setattr(leases, "claim_by", claim_and_lose)
        patched.setattr(record, "claim_by", claim_and_lose)
        assert line.work(operation.pk if is_named else 0, world.clients) == "left"
    assert wait_until_given_back(operation).attempts == 0
    time.sleep(0.7)
    assert line.work(operation.pk, world.clients) == "done"


def test_a_session_killed_under_a_worker_costs_one_round_and_no_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = world.sign_up()
    forward = runner.forward

    def killed(*_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with ThreadPoolExecutor(1) as worker:
        monkeypatch.setattr(runner, "forward", killed)
        assert worker.submit(work, operation.pk, world.clients).result() == "left"
        assert wait_until_given_back(operation).attempts == 0
        monkeypatch.setattr(runner, "forward", forward)
        time.sleep(0.7)
        assert worker.submit(work, operation.pk, world.clients).result() == "done"
        worker.submit(_close).result()


def test_an_error_met_while_the_broker_was_away_is_waited_out(world: World) -> None:
    operation = world.sign_up()
    world.edges.deaf.update({"local"})
    clients = replace(world.clients, outage=lambda _: "the broker failed: timed out")
    for _ in range(12):  # more often than an operation has attempts
        Operation.objects.update(run_after=Now())
        assert work(operation.pk, clients) == "waits"
    row = Operation.objects.get(pk=operation.pk)
    assert (row.state, row.attempts, row.error_code) == (OperationState.PENDING, 0, "away")
    assert "the broker failed" in row.error_message
    Operation.objects.update(run_after=Now())
    # Without an outage it is what it is: an edge that is waited for.
    assert work(operation.pk, world.clients) == "waits"
    row.refresh_from_db()
    assert row.error_code == "edges_silent"


def test_time_in_which_nobody_swept_is_given_back(world: World) -> None:
    operation = world.sign_up()
    assert leases.claim(operation.pk, owner="me") is not None
    hour = timedelta(hours=1)
    Operation.objects.update(
        created_at=Now() - hour,
        deadline_at=Now() - timedelta(minutes=30),
        lease_until=Now() - timedelta(minutes=40),
    )
    PeriodicRun.objects.create(name="sweep", started_at=Now() - hour, finished_at=Now() - hour)
    early = leases.claim(operation.pk, owner="early")
    assert early is not None
    assert not early.is_spent
    Operation.objects.update(lease_until=Now() - timedelta(minutes=40), attempts=1)
    sweep._give_time_back()
    sweep._give_time_back()  # once only
    lease = leases.claim(operation.pk, owner="late")
    assert lease is not None
    assert not lease.is_spent
    row = Operation.objects.get(pk=operation.pk)
    assert row.attempts == 1
    left = row.deadline_at - row.created_at
    assert timedelta(minutes=89) < left < timedelta(minutes=91)


def test_an_operation_whose_own_time_is_over_is_spent_while_the_sweep_runs(world: World) -> None:
    operation = world.sign_up()
    Operation.objects.update(deadline_at=Now() - timedelta(seconds=1), attempts=1)
    PeriodicRun.objects.create(name="sweep", started_at=Now(), finished_at=Now())
    lease = leases.claim(operation.pk, owner="me")
    assert lease is not None
    assert lease.is_spent


def _close() -> None:
    connection.close()  # this thread's, whichever thread that is
