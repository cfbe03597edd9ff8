"""What flows, claims, calls, placements and rounds count, each where it happens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from runtime.errors import HostUnreachableError
from tenants.core import metrics
from tenants.errors import NoRoomError
from tenants.operations import leases
from tenants.operations.models import Operation
from tenants.pool.models import Host
from tenants.transfers import moves
from tests.workers.conftest import World, make_host
from workers.broker import queues
from workers.leases.periodic import once
from workers.rpc.client import AgentCall, Caller


def value(name: str, **labels: str) -> float:
    """What this process has counted; 0 before the first."""
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


@contextmanager
def grows(name: str, by: float = 1, **labels: str) -> Iterator[None]:
    """What is done inside makes the count grow by so much."""
    before = value(name, **labels)
    yield
    assert value(name, **labels) - before == by, (name, labels)


def test_a_sign_up_counts_its_claim_its_steps_its_place_and_its_end(
    world: World, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    operation = world.sign_up()
    with (
        grows("stoa_operation_claim_duration_seconds_count"),
        grows("stoa_operation_due_seconds_count", verb="provision"),
        grows("stoa_operation_attempts_total", verb="provision", outcome="done"),
        grows("stoa_operation_duration_seconds_count", verb="provision", outcome="done"),
        grows("stoa_operation_step_duration_seconds_count", step="place", verb="provision"),
        grows("stoa_operation_step_duration_seconds_count", step="start", verb="provision"),
        grows("stoa_operation_step_duration_seconds_count", step="route", verb="provision"),
        grows("stoa_operation_step_duration_seconds_count", step="check", verb="provision"),
        grows("stoa_placements_total", kind="start"),
        django_capture_on_commit_callbacks(execute=True),  # type: ignore[attr-defined]
    ):
        assert world.run(operation) == "done"


def test_an_operation_is_measured_from_when_it_was_asked_for(world: World) -> None:
    operation = world.sign_up()
    name = "stoa_operation_duration_seconds_sum"
    before = value(name, verb="provision", outcome="done")
    Operation.objects.filter(pk=operation.pk).update(queued_at=Now() - timedelta(minutes=1))
    assert world.run(operation) == "done"
    assert value(name, verb="provision", outcome="done") - before >= 60


def test_a_pool_without_room_counts_the_refusal_by_what_is_scarce(world: World) -> None:
    operation = world.sign_up()
    Host.objects.update(capacity_memory_bytes=1)
    with (
        grows("stoa_placement_refusals_total", asked_by="provision", reason="memory"),
        grows("stoa_operation_attempts_total", verb="provision", outcome="failed"),
        grows("stoa_operation_duration_seconds_count", verb="provision", outcome="failed"),
    ):
        assert world.run(operation) == "failed"
    with (
        grows("stoa_placement_refusals_total", asked_by="sign_up", reason="memory"),
        pytest.raises(NoRoomError),
    ):
        world.sign_up("another")


def test_a_move_counts_its_second_place(
    world: World, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    tenant = world.live_tenant()
    make_host("other")
    instance = tenant.instances.get()
    operation = moves.request(instance, to_host=None, reason="test")
    with (
        grows("stoa_placements_total", kind="move"),
        django_capture_on_commit_callbacks(execute=True),  # type: ignore[attr-defined]
    ):
        world.run(operation)


def test_a_claim_that_gets_nothing_leaves_no_wait(world: World) -> None:
    operation = world.sign_up()
    assert leases.claim(operation.pk, owner="a")
    with grows("stoa_operation_due_seconds_count", by=0, verb="provision"):
        assert leases.claim(operation.pk, owner="b") is None


def test_a_call_that_nobody_takes_is_counted_by_its_code(redis_url: str) -> None:
    caller = Caller(redis_url)
    call = AgentCall(queues.host_queue("nobody"), "statuses", {}, 1.0)
    with (
        grows("stoa_call_duration_seconds_count", call="statuses"),
        grows("stoa_call_errors_total", code="host_unreachable"),
        grows("stoa_dependency_errors_total", by=0, dependency="broker", operation="call"),
        pytest.raises(HostUnreachableError),
    ):
        caller.ask(call)
    caller.close()


def test_a_broker_that_is_away_is_counted_as_its_own_fault() -> None:
    caller = Caller("redis://127.0.0.1:1/0")
    call = AgentCall(queues.host_queue("nobody"), "statuses", {}, 1.0)
    with (
        grows("stoa_dependency_errors_total", dependency="broker", operation="call"),
        pytest.raises(HostUnreachableError),
    ):
        caller.ask(call)
    caller.close()


@pytest.mark.django_db
def test_rounds_are_measured_and_those_that_fail_counted() -> None:
    @once("test_round")
    def work(*, fails: bool) -> str:
        if fails:
            raise ValueError("it fails")
        return ""

    with (
        grows("stoa_round_duration_seconds_count", by=2, round="test_round"),
        grows("stoa_round_failures_total", round="test_round"),
    ):
        work(fails=False)
        with pytest.raises(ValueError, match="it fails"):
            work(fails=True)
