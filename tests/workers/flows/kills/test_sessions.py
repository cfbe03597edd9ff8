"""Sessions of PostgreSQL in the middle of a flow, of which the matrix has only one: one is really ended; two
workers are really at one operation.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from tenants.operations.models import Operation, Step
from tenants.placement.models import Placement, Route
from tenants.shops import removals
from tenants.shops.models import Instance, Tenant
from tenants.states import OperationState, Verb
from tests.support.working import work
from tests.workers.conftest import World
from tests.workers.flows.kills import points

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    """A worker with a session of its own."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(close).result()
    time.sleep(0.1)  # the thread that gives back closes its connection when it has no more to do


def close() -> None:
    connection.close()  # this thread's, whichever thread that is


def end_session() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.mark.parametrize(
    ("verb", "step", "when"),
    [
        (Verb.PROVISION, "start", "after"),
        (Verb.PROVISION, "route", "before"),
        (Verb.REMOVE, "stop", "after"),
    ],
    ids=str,
)
def test_a_session_that_is_ended_costs_one_round_and_no_attempt(
    world: World, worker: ThreadPoolExecutor, verb: str, step: str, when: str
) -> None:
    operation = world.sign_up()
    if verb == Verb.REMOVE:
        assert world.run(operation) == "done"
        operation = removals.request(operation.tenant)
    fired: list[tuple[str, str, str]] = []

    def end_once(*point: str) -> None:
        if point == ("", step, when) and not fired:
            fired.append((point[0], point[1], point[2]))
            end_session()

    with points.watched(end_once, verb):
        assert worker.submit(work, operation.pk, world.clients).result() == "left"
        row = given_back(operation)
        assert (row.attempts, row.error_code) == (0, "away")
        Operation.objects.filter(pk=operation.pk).update(run_after=Now())
        assert worker.submit(work, operation.pk, world.clients).result() == "done"
    assert fired
    assert len(world.driver.list()) == (verb != Verb.REMOVE)


@pytest.mark.parametrize(
    ("verb", "step"),
    [(Verb.PROVISION, "start"), (Verb.PROVISION, "route"), (Verb.REMOVE, "stop")],
    ids=str,
)
def test_a_worker_that_wakes_up_beside_the_next_one_changes_nothing(
    world: World, worker: ThreadPoolExecutor, verb: str, step: str
) -> None:
    operation = world.sign_up()
    if verb == Verb.REMOVE:
        assert world.run(operation) == "done"
        operation = removals.request(operation.tenant)
    Operation.objects.filter(pk=operation.pk).update(run_after=Now())
    asleep, may_wake = threading.Event(), threading.Event()

    def sleep_once(*point: str) -> None:
        if point == ("", step, "before") and not asleep.is_set():
            asleep.set()
            assert may_wake.wait(60)

    with points.watched(sleep_once, verb):
        late = worker.submit(work, operation.pk, world.clients)
        assert asleep.wait(60)
        Operation.objects.filter(pk=operation.pk).update(lease_until=Now() - timedelta(seconds=1))
        assert work(operation.pk, world.clients) == "done"
        before = everything(world)
        may_wake.set()
        assert late.result(60) == "taken over"
    assert everything(world) == before
    assert not connection.in_atomic_block


def everything(world: World) -> list[object]:
    """What is recorded, and what is so: a late worker must change none of it."""
    tables = (Operation, Step, Placement, Route, Tenant, Instance)
    rows = [list(table._default_manager.order_by("pk").values()) for table in tables]
    held = [(one.instance_id, one.state, one.pid, one.fence) for one in world.driver.list()]
    return [*rows, held, dict(world.edges.routes)]


def given_back(operation: Operation) -> Operation:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        row = Operation.objects.get(pk=operation.pk)
        if row.state == OperationState.PENDING:
            return row
        time.sleep(0.05)
    raise AssertionError("not given back")
