"""No deadline is shorter than the calls that an operation may have to wait for, and patience is patience."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from runtime.errors import HostUnreachableError
from runtime.specs import Fence, VolumeFate
from runtime.units import MIB, Limits
from runtime.volume_requests import VolumeLoad, VolumePart, VolumeSave
from tenants.errors import WaitError
from tenants.operations import attempts, leases, operations, steps, time_limits
from tenants.operations.leases import Lease
from tenants.operations.models import Operation
from tenants.shops import repeats
from tenants.states import Verb
from tests.factories import make_shop
from workers.agents.common import messages
from workers.agents.edge import methods
from workers.agents.host import methods as host_methods
from workers.flows import move, restore
from workers.flows.steps import hold_swap, routing
from workers.rpc import client
from workers.rpc.client import AgentCall
from workers.rpc.drivers import RemoteDriver

FENCE = Fence(1, 1)
SHA = "1" * 64


class Recorder:
    """Stands for the broker: keeps what is called, and nobody answers."""

    def __init__(self) -> None:
        self.calls: list[AgentCall] = []

    def ask(self, call: AgentCall) -> Any:
        self.calls.append(call)
        raise HostUnreachableError("nobody is there")


def _spec() -> Any:
    from runtime.specs import InstanceSpec

    return InstanceSpec(
        instance_id="ins_test000000",
        tenant="acme",
        image_digest=f"sha256:{SHA}",
        published_port=21000,
        ceilings=Limits(1000, 64 * MIB, 64, 100 * MIB),
    )


def _load() -> VolumeLoad:
    part = VolumePart("snp_00000001", SHA, 10, "/x")
    return VolumeLoad("ins_test000000", "acme", (part,), 100 * MIB, 0, 0)


# What flows ask of hosts, and the time that the table gives to it.
HOST_CALLS: dict[str, tuple[Callable[[RemoteDriver], object], float]] = {
    "start": (lambda d: d.ensure_running(_spec(), fence=FENCE), time_limits.START_SECONDS),
    "move's stop": (
        lambda d: d.ensure_stopped("i", fence=FENCE, grace_seconds=move.STOP_GRACE_SECONDS),
        time_limits.STOP_SECONDS,
    ),
    "restore's stop": (
        lambda d: d.ensure_stopped("i", fence=FENCE, grace_seconds=restore.STOP_GRACE_SECONDS),
        time_limits.STOP_SECONDS,
    ),
    "removal": (
        lambda d: d.ensure_absent("i", fence=FENCE, volume=VolumeFate.DELETE),
        time_limits.STOP_SECONDS,
    ),
    "image": (lambda d: d.ensure_image(f"sha256:{SHA}"), time_limits.FETCH_SECONDS),
    "save": (
        lambda d: d.save_volume(VolumeSave("acme", "snp_00000001", "", "/x")),
        time_limits.VOLUME_SECONDS,
    ),
    "load": (lambda d: d.load_volume(_load(), fence=FENCE), time_limits.VOLUME_SECONDS),
}


@pytest.mark.parametrize("name", HOST_CALLS)
def test_the_table_gives_each_call_at_least_the_time_that_the_call_itself_gives(name: str) -> None:
    act, seconds = HOST_CALLS[name]
    recorder = Recorder()
    with pytest.raises(HostUnreachableError):
        act(RemoteDriver(recorder, "one"))  # type: ignore[arg-type]
    assert recorder.calls[0].run_limit <= seconds


def test_the_times_of_calls_are_the_same_in_both_tables() -> None:
    for name in ("SPARE_SECONDS", "FETCH_SECONDS", "VOLUME_SECONDS"):
        assert getattr(time_limits, name) == getattr(host_methods, name)
    assert time_limits.EDGE_SECONDS == methods.EDGE_SECONDS
    assert host_methods.VOLUME_SECONDS <= messages.LONGEST_RUN_LIMIT


def test_the_table_gives_each_wait_at_least_its_own_bound() -> None:
    assert client.ACCEPT_SECONDS + client.SUSPECT_SECONDS <= time_limits.ACCEPT_SECONDS
    assert max(hold_swap.QUIET_SECONDS) + time_limits.EDGE_SECONDS <= time_limits.QUIET_SECONDS
    assert move.LAST_ANSWERS_SECONDS + time_limits.EDGE_SECONDS <= time_limits.QUIET_SECONDS
    assert routing.CHECK_SECONDS <= time_limits.CHECK_SECONDS
    assert time_limits.EDGE_SECONDS + routing.PASS_SECONDS <= time_limits.ROUTE_SECONDS


@pytest.mark.parametrize("verb", Verb)
def test_a_deadline_is_never_shorter_than_the_calls_it_waits_for(
    verb: str, settings: Settings
) -> None:
    settings.OPERATION_DEADLINE_SECONDS = 10
    longest = sum(step.seconds for step in steps.STEPS[verb])
    assert steps.deadline_of(verb) > timedelta(seconds=longest)
    volumes = {Verb.RECOVER: 1, Verb.RESTORE: 3, Verb.MOVE: 10}.get(Verb(verb), 0)
    assert longest >= volumes * time_limits.VOLUME_SECONDS


@pytest.mark.django_db
def test_a_repeat_and_a_wait_get_the_whole_time_of_their_verb() -> None:
    made = make_shop()
    Operation.objects.all().delete()
    operation = operations.open_operation(made.operation.instance, Verb.RECOVER)
    attempts.fail(_claimed(operation), code="host", message="no answer")
    repeats.retry(Operation.objects.get(pk=operation.pk))
    longest = steps.deadline_of(Verb.RECOVER) - timedelta(seconds=60)
    assert Operation.objects.filter(deadline_at__gt=Now() + longest).exists()
    assert attempts.wait(_claimed(operation), WaitError("not yet"))
    Operation.objects.update(run_after=Now(), deadline_at=Now() + timedelta(seconds=5))
    _claimed(operation)
    assert Operation.objects.filter(deadline_at__gt=Now() + longest).exists()


def _claimed(operation: Operation) -> Lease:
    lease = leases.claim(operation.pk, owner="worker")
    assert lease is not None
    return lease
