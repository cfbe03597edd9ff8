"""How a worker takes part in the line: one after another, and nobody is left when one dies."""

import re
from pathlib import Path

import pytest
import redis
from django.db.models.functions import Now

from tenants.core import dispatch
from tenants.operations import attempts, operations
from tenants.operations import line as record
from tenants.operations.models import Operation
from tenants.states import OperationState
from tests.workers.conftest import World
from workers.flows.running import line
from workers.reconcilers import sweep

REPO = Path(__file__).resolve().parents[4]


def _states() -> list[str]:
    return list(Operation.objects.order_by("pk").values_list("state", flat=True))


def test_a_worker_takes_the_next_itself_until_nobody_waits(world: World) -> None:
    made = [world.sign_up(f"shop-{number}") for number in range(5)]
    assert line.work(made[3].pk, world.clients) == "done"
    assert _states() == [OperationState.SUCCEEDED] * 5
    assert line.work(made[0].pk, world.clients) == "not ours"


def test_a_worker_goes_back_to_the_queue_after_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "MOST_AT_ONCE", 2)
    told: list[int] = []
    monkeypatch.setattr(dispatch, "hand_over", told.append)
    for number in range(3):
        world.sign_up(f"shop-{number}")
    told.clear()
    line.work(0, world.clients)
    assert _states().count(OperationState.SUCCEEDED) == 2
    assert told == [0]


def test_a_hint_that_comes_while_enough_are_at_work_is_kept_for_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = line._Process()
    monkeypatch.setattr(line, "_process", process)
    process._slots, process._counted_at = 1, float("inf")  # one slot, and it is not counted again
    assert process.enter(is_hint=True)
    world.sign_up()
    assert line.work(0, world.clients) == "others are at it"
    assert not process.leave_unless_told()  # who ends looks once more
    assert process.leave_unless_told()
    assert line.work(0, world.clients) == "done"
    assert process._at_work == 0


def test_what_is_named_is_worked_on_however_many_are_at_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = line._Process()
    monkeypatch.setattr(line, "_process", process)
    process._slots, process._at_work = 1, 5
    operation = world.sign_up()
    operations.cancel(operation)
    assert line.work(operation.pk, world.clients) == "cancelled"
    assert process._at_work == 5


def test_a_thread_that_meets_busy_hosts_only_stops_looking(world: World) -> None:
    from runtime.errors import HostBusyError

    for number in range(6):
        world.sign_up(f"shop-{number}")
    for _ in range(line.MOST_BUSY):
        world.driver.fail_next("ensure_running", HostBusyError("8 calls are in flight"))
    assert line.work(0, world.clients) == "waits"
    assert _states() == [OperationState.PENDING] * 6


def test_who_was_next_when_a_worker_died_is_taken_after_the_sweep(
    world: World, redis_url: str
) -> None:
    """Killed after the slot was free and before it took the next: all that is left is the record."""
    first, second = world.sign_up("first"), world.sign_up("second")
    lease = record.take(first.pk, owner="dies", slots=1)
    assert lease is not None
    assert record.take(second.pk, owner="other", slots=1) is None  # its message is used up
    attempts.succeed(lease)
    with redis.Redis.from_url(redis_url) as queue:
        queue.delete(dispatch.CONTROL_QUEUE)
        assert sweep.sweep() == "1 operations handed over again"
        queue.delete(dispatch.CONTROL_QUEUE)
    assert line.work(second.pk, world.clients) == "done"


def test_who_was_left_in_the_middle_of_a_start_is_taken_by_name(
    world: World, redis_url: str
) -> None:
    operation = world.sign_up()
    assert record.take(operation.pk, owner="dies", slots=1) is not None
    Operation.objects.update(lease_until=Now())
    with redis.Redis.from_url(redis_url) as queue:
        queue.delete(dispatch.CONTROL_QUEUE)
        assert sweep.sweep() == "1 operations handed over again"
        queue.delete(dispatch.CONTROL_QUEUE)
    assert line.work(operation.pk, world.clients) == "done"


def test_the_threads_counted_on_are_those_that_run() -> None:
    for name in ("deploy/supervisord.conf.in", "deploy/compose/enter"):
        text = (REPO / name).read_text()
        (count,) = re.findall(r"-Q control,wake .*?-c (\d+)", text)
        assert int(count) == line.THREADS, name
