"""What becomes of a shop on a host whose agent is too old to be trusted with its start."""

import pytest
from django.db.models.functions import Now

from runtime.errors import HostOutdatedError
from runtime.specs import Fence, InstanceSpec
from runtime.statuses import ContainerState, InstanceStatus
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.pool.models import Host
from tenants.snapshots.models import Snapshot
from tenants.states import OperationState, Verb
from tenants.transfers import missing_data, restores
from tests.support.fake_driver import FakeDriver
from tests.workers.flows.losses import copied, lose_host, lose_volume
from tests.workers.flows.pool import Pool

pytestmark = pytest.mark.django_db


class OlderDriver(FakeDriver):
    """As RemoteDriver shows an agent from before volumes had marks, until it is updated."""

    is_older = False

    def ensure_running(self, spec: InstanceSpec, *, fence: Fence) -> InstanceStatus:
        if self.is_older and spec.volume and not spec.new_volume:
            raise HostOutdatedError("update the host's agent")
        return super().ensure_running(spec, fence=fence)

    def volumes_here(self, names: tuple[str, ...]) -> tuple[str, ...]:
        if self.is_older:
            raise HostOutdatedError("update the host's agent")
        return super().volumes_here(names)


@pytest.fixture
def pool(pool: Pool) -> Pool:
    for driver in pool.drivers.values():
        driver.__class__ = OlderDriver
    return pool


def age(pool: Pool, *names: str) -> None:
    """From now on the agents of these hosts, and of no others, are old."""
    for name, driver in pool.drivers.items():
        assert isinstance(driver, OlderDriver)
        driver.is_older = name in names


def test_a_repair_waits_for_the_update_and_says_so(pool: Pool) -> None:
    instance = copied(pool)
    lose_volume(pool, instance)
    age(pool, "local")
    operation = operations.open_operation(instance, Verb.REPAIR)
    for _ in range(20):
        assert pool.world.run(operation) == "waits"
    assert (operation.attempts, operation.error_code) == (0, "host_outdated")
    assert pool.running(instance) == []
    assert pool.orders("local", instance) == set()
    Operation.objects.filter(pk=operation.pk).update(waiting_since=Now() - 2 * missing_data.WAITED)
    assert "update the host's agent" in missing_data.alarms_now()["data.waiting"]
    age(pool)
    assert pool.world.run(operation) == "failed"
    instance.refresh_from_db()
    assert instance.state == "data_missing"


def test_a_sign_up_is_not_turned_away(pool: Pool) -> None:
    age(pool, "local", "second", "third")
    assert pool.running(pool.shop("new")) == ["local"]


def test_a_recovery_waits_on_the_next_host(pool: Pool) -> None:
    instance = copied(pool)
    operation = lose_host()
    age(pool, "second", "third")
    for _ in range(5):
        assert pool.world.run(operation) == "waits"
    assert "update the host's agent" in operation.error_message
    assert pool.running(instance) == ["local"], "nobody reaches it there"
    age(pool)
    assert pool.settle(operation) == "succeeded"
    assert pool.orders(pool.place(instance), instance) == {"first"}


@pytest.mark.parametrize("older", ["local", "second"])
def test_a_move_stops_nothing_that_could_not_be_started_again(pool: Pool, older: str) -> None:
    instance = copied(pool)
    age(pool, older)
    operation = pool.ask(instance)
    assert pool.settle(operation) == OperationState.FAILED
    assert "update the host's agent" in operation.error_message
    assert "ensure_stopped" not in [call for call, _ in pool.drivers["local"].calls]
    pool.check_one(instance)
    assert Host.objects.get(name="second").booked_memory_bytes == 0


def test_a_restore_stops_nothing_that_could_not_be_started_again(pool: Pool) -> None:
    instance = copied(pool)
    age(pool, "local")
    copy = Snapshot.objects.filter(tenant=instance.tenant).earliest("pk")
    operation = restores.request(instance.tenant, copy, requested_by=None)
    assert pool.settle(operation) == OperationState.FAILED
    status = pool.drivers["local"].status(instance.public_id)
    assert status.state is ContainerState.RUNNING
    assert pool.orders("local", instance) >= {"first", "late"}
