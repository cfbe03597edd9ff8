"""Every name that somebody sends is a task, every task is small, every round is asked for."""

import ast
import math
import re
import time
from datetime import timedelta
from pathlib import Path

import pytest
from celery import current_app
from django.db.models.functions import Now

from tenants.core import dispatch
from tenants.core.models import PeriodicRun
from tests.workers.conftest import World
from workers import schedule, tasks
from workers.leases import periodic
from workers.leases.periodic import once

pytestmark = pytest.mark.django_db
REPO = Path(__file__).resolve().parents[2]


def test_every_name_that_is_sent_is_a_task() -> None:
    current_app.loader.import_default_modules()
    sent = {dispatch.RUN_OPERATION} | {str(entry["task"]) for entry in schedule.SCHEDULE.values()}
    assert sent <= current_app.tasks.keys()


@pytest.mark.parametrize("file", ["deploy/supervisord.conf.in", "deploy/compose/enter"])
def test_what_is_sent_goes_to_a_queue_that_a_worker_reads(file: str) -> None:
    lists = re.findall(r" -Q (\S+)", (REPO / file).read_text())
    sent = {dispatch.CONTROL_QUEUE, dispatch.SWEEP_QUEUE}
    for entry in schedule.SCHEDULE.values():
        options = entry["options"]
        assert isinstance(options, dict)
        sent.add(options["queue"])
    assert sent <= set(",".join(lists).split(","))


def test_rounds_expire_with_their_period() -> None:
    for entry in schedule.SCHEDULE.values():
        options = entry["options"]
        assert isinstance(options, dict)
        assert options["expires"] == entry["schedule"]


def test_tasks_are_names_and_one_call() -> None:
    tree = ast.parse(Path(tasks.__file__).read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 10, node.name


def test_a_task_runs_an_operation_that_is_gone_without_a_word(world: World) -> None:
    assert tasks.run_operation(10**9) == "not ours"


def test_a_round_runs_once_at_a_time_and_again_when_its_owner_has_died() -> None:
    runs: list[str] = []

    @once("test-round")
    def work() -> str:
        runs.append("ran")
        return "ran"

    assert work() == "ran"
    row = PeriodicRun.objects.filter(name="test-round")
    row.update(lease_owner="another", lease_until=Now() + timedelta(seconds=5))
    assert work() == "another process is at it"
    row.update(lease_until=Now() - timedelta(seconds=1))
    assert work() == "ran"
    assert runs == ["ran", "ran"]


def test_a_round_is_not_entered_twice_within_one_process() -> None:
    @once("nested-round")
    def work() -> str:
        return inner()

    def inner() -> str:
        return work()

    assert work() == "another thread is at it"


@pytest.mark.django_db(transaction=True)
def test_a_long_round_keeps_its_turn() -> None:
    ends: list[object] = []

    @once("long-round")
    def work() -> str:
        for _ in range(2):
            ends.append(PeriodicRun.objects.get(name="long-round").lease_until)
            time.sleep(periodic.LEASE_SECONDS / 3 + 0.5)
        return ""

    work()
    assert ends[0] != ends[1]


def test_a_round_that_fails_gives_its_turn_back_and_does_not_count_as_ended() -> None:
    @once("failing-round")
    def fail() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    row = PeriodicRun.objects.get(name="failing-round")
    assert (row.lease_until, row.finished_at) == (None, None)


def test_a_round_that_fails_keeps_none_behind_it_from_its_turn() -> None:
    def fail() -> str:
        raise ZeroDivisionError

    done: list[str] = []

    def work() -> str:
        done.append("done")
        return "done"

    with pytest.raises(ZeroDivisionError):
        periodic.in_turn(fail, work)
    assert done == ["done"]
    assert periodic.in_turn(work, lambda: "", work) == "done; done"


def test_rounds_are_unbroken_until_one_comes_late() -> None:
    @once("steady-round")
    def work() -> str:
        return ""

    def unbroken() -> float:
        return periodic.unbroken_for("steady-round", now=periodic.database_now())

    assert unbroken() == math.inf
    work()
    row = PeriodicRun.objects.filter(name="steady-round")
    row.update(unbroken_since=Now() - timedelta(seconds=100))
    work()
    assert unbroken() >= 100
    row.update(finished_at=Now() - timedelta(seconds=periodic.UNBROKEN_SECONDS + 1))
    assert unbroken() == 0.0
    work()
    assert unbroken() < 5
