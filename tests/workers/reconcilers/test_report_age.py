"""A host's inventory is judged by when it was collected, not by when it was read.

A real reporter, a real Redis, the observer and the comparison with the record, with a host that is slow:
between the collecting and the reading, things happen there.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from django.db.models import F
from django.db.models.functions import Now

from runtime.specs import Fence, VolumeFate
from runtime.wire import JsonValue
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool.models import HostReport
from tenants.shops import removals
from tenants.shops.models import Instance
from tenants.states import Verb
from tests.workers.conftest import World
from workers.agents.common.reporter import Reporter
from workers.agents.host.report import ReportCollector as Collector
from workers.broker import queues
from workers.reconcilers import instances, report_ingest

QUEUE = "host.local"


class SlowHost:
    """Its agent: whatever is left in `meanwhile` happens once a report is collected and not yet sent."""

    def __init__(self, world: World, url: str, state_dir: Path) -> None:
        self.world = world
        self.meanwhile: Callable[[], object] = lambda: None
        self._collector = Collector(world.driver, state_dir=state_dir)
        self._reporter = Reporter(url, QUEUE, boot_id="b", collect=self._collect)

    def report(self) -> None:
        """Tell what the host holds, have it read, and compare it with the record; the repairs are open."""
        self._reporter.report()
        self.meanwhile = lambda: None
        report_ingest.observe()
        instances.carry_out(self.world.clients.driver_for)

    def _collect(self) -> Mapping[str, JsonValue]:
        told = self._collector.collect()
        self.meanwhile()
        return told


@pytest.fixture
def slow(world: World, redis_url: str, tmp_path: Path) -> Iterator[SlowHost]:
    report_ingest._last_window.clear()
    yield SlowHost(world, redis_url, tmp_path)
    with redis.Redis.from_url(redis_url) as client:
        client.delete(queues.report_key(QUEUE))


def repairs() -> int:
    return Operation.objects.filter(verb=Verb.REPAIR).count()


def end_behind_our_back(world: World, instance: Instance) -> None:
    world.driver.ensure_absent(
        instance.public_id, fence=Fence(1, 10**6), volume=VolumeFate.KEEP, grace_seconds=0
    )


def test_what_started_after_the_report_was_collected_is_not_repaired(
    world: World, slow: SlowHost
) -> None:
    slow.meanwhile = lambda: [world.live_tenant(f"late-{number}") for number in range(5)]
    slow.report()
    assert HostReport.objects.get().inventory == []
    assert repairs() == 0
    slow.report()
    assert len(HostReport.objects.get().inventory) == 5
    assert repairs() == 0


def test_what_is_missing_is_noticed_by_the_next_report(world: World, slow: SlowHost) -> None:
    world.live_tenant()
    slow.report()
    assert repairs() == 0
    end_behind_our_back(world, Instance.objects.get())
    slow.report()
    assert repairs() == 1


def test_what_was_started_again_after_the_report_was_collected_is_not_repaired(
    world: World, slow: SlowHost
) -> None:
    """An operation of whatever verb that leaves the states of the instance as they were."""
    world.live_tenant()
    instance = Instance.objects.get()
    end_behind_our_back(world, instance)
    world.driver._fences.clear()
    restart = operations.open_operation(instance, Verb.REPAIR)

    def start_again() -> None:
        assert world.run(restart) == "done"
        # Of another verb no pause after a repair keeps it from being judged.
        Operation.objects.filter(pk=restart.pk).update(verb=Verb.RESTORE)
        Instance.objects.update(state_since=Now() - timedelta(hours=1))

    slow.meanwhile = start_again
    slow.report()
    assert HostReport.objects.get().inventory == []
    assert repairs() == 0


def test_what_left_after_the_report_was_collected_is_nobodys_to_stop(
    world: World, slow: SlowHost
) -> None:
    tenant = world.live_tenant()
    removal = removals.request(tenant)
    slow.meanwhile = lambda: world.run(removal)
    world.driver.calls.clear()
    slow.report()
    assert len(HostReport.objects.get().inventory) == 1
    stops = [name for name, *_ in world.driver.calls if name == "ensure_absent"]
    assert len(stops) == 1  # the removal's own


def test_an_agent_of_an_older_version_is_judged_with_a_margin(
    world: World, slow: SlowHost, redis_url: str
) -> None:
    """It does not say when it began: what has been there for less than any report takes is left alone."""
    world.live_tenant()
    end_behind_our_back(world, Instance.objects.get())
    with redis.Redis.from_url(redis_url) as client:
        # As from control of the version before, which gives agents no right to ask for the time.
        rules = [one for one in queues.broker_acl(QUEUE, "0" * 64) if one != "+time"]
        client.execute_command("ACL", "SETUSER", QUEUE, *rules, ">secret")
        slow._reporter._redis.close()
        url = redis_url.replace("control:only-for-tests", f"{QUEUE}:secret")
        slow._reporter = Reporter(url, QUEUE, boot_id="b", collect=slow._collect)
        slow.report()
        assert repairs() == 0
        margin = report_ingest.COLLECTED_WITHIN
        Instance.objects.update(state_since=F("state_since") - margin)
        Placement.objects.update(since=F("since") - margin)
        Operation.objects.update(finished_at=F("finished_at") - margin)
        slow.report()
        assert repairs() == 1
        client.execute_command("ACL", "DELUSER", QUEUE)
