"""Every name that somebody sends is a task, every task is small, every round is asked for."""

import ast
import time
from pathlib import Path

import pytest
from celery import current_app
from django.db import connection, connections

from tenants import dispatch
from tests.workers.conftest import World
from workers import beat, queues, tasks
from workers.periodic import once

pytestmark = pytest.mark.django_db


def test_every_name_that_is_sent_is_a_task() -> None:
    current_app.loader.import_default_modules()
    sent = {dispatch.RUN_OPERATION} | {str(entry["task"]) for entry in beat.SCHEDULE.values()}
    assert sent <= current_app.tasks.keys()


def test_rounds_go_to_queues_that_a_worker_reads_and_expire_with_their_period() -> None:
    assert (beat.SWEEP, beat.OBSERVE) == (queues.SWEEP, queues.OBSERVE)
    assert dispatch.CONTROL_QUEUE == queues.CONTROL
    for entry in beat.SCHEDULE.values():
        options = entry["options"]
        assert isinstance(options, dict)
        assert options["queue"] in {queues.SWEEP, queues.OBSERVE}
        assert options["expires"] == entry["schedule"]


def test_tasks_are_names_and_one_call() -> None:
    tree = ast.parse(Path(tasks.__file__).read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 10, node.name


def test_a_task_runs_an_operation_that_is_gone_without_a_word(world: World) -> None:
    assert tasks.run_operation(10**9) == "not ours"


@pytest.mark.django_db(transaction=True)
def test_a_round_runs_once_at_a_time() -> None:
    other = connections.create_connection("default")
    runs: list[str] = []

    @once("test-round")
    def work() -> str:
        runs.append("ran")
        return "ran"

    with other.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", _key("test-round"))
    assert work() == "another process is at it"
    with other.cursor() as cursor:  # closing alone gives it back a moment later
        cursor.execute("SELECT pg_advisory_unlock_all()")
    other.close()
    connection.ensure_connection()
    # The server notices that a session has gone a moment after its client has left.
    deadline = time.monotonic() + 20
    while (said := work()) != "ran" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert said == "ran"
    assert runs == ["ran"]


def _key(name: str) -> list[int]:
    from zlib import crc32

    return [0x570A, crc32(name.encode()) & 0x7FFFFFFF]


@pytest.mark.django_db(transaction=True)
def test_a_round_that_fails_leaves_no_lock() -> None:
    @once("failing-round")
    def fail() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchone()[0] == 0
