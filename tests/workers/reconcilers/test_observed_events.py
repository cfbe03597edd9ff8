"""From a report on the broker to events: in one transaction with the inventory, and never twice."""

import json
from collections.abc import Iterator

import pytest
import redis

from runtime.statuses import ContainerState, DiskState, InstanceStatus
from tenants.activity import events
from tenants.activity.models import InstanceEvent
from tenants.placement.models import Placement
from tenants.pool.models import Host, HostReport
from tests.workers.conftest import World, make_host
from tests.workers.reconcilers.conftest import Reports
from workers.agents.host import report
from workers.reconcilers import report_ingest


@pytest.fixture
def reports(redis_url: str) -> Iterator[Reports]:
    report_ingest._last_window.clear()
    with redis.Redis.from_url(redis_url) as client:
        yield Reports(client)
        client.delete("report.host.local", "report.edge.local")


def crashed(world: World) -> dict[str, object]:
    """An inventory entry of a live shop whose program has ended twice."""
    tenant = world.live_tenant()
    instance = Placement.objects.get(instance__tenant=tenant, until=None).instance
    return {
        "instance_id": instance.public_id,
        "state": "running",
        "restarts": 2,
        "exit_code": 1,
        "last_lines": ["it broke\x00 here"],
    }


def test_a_report_becomes_an_event_once(world: World, reports: Reports) -> None:
    entry = crashed(world)
    reports.host(digest="d9", inventory=[entry])
    report_ingest.observe()
    report_ingest.observe()
    reports.host(digest="d10", inventory=[entry | {"healthy": True}])
    report_ingest.observe()
    row = InstanceEvent.objects.get()
    assert (row.kind, row.count) == ("exited", 2)
    assert row.details["last_lines"] == ["it broke\ufffd here"]


def test_an_observer_that_dies_between_two_writes_loses_and_doubles_nothing(
    world: World, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports.host(digest="d9", inventory=[crashed(world)])
    record = events.record

    def die(*args: object, **kwargs: object) -> int:
        record(*args, **kwargs)  # type: ignore[arg-type]
        raise SystemExit("killed")

    with monkeypatch.context() as patch:
        patch.setattr(events, "record", die)
        with pytest.raises(SystemExit):
            report_ingest.observe()
    assert not InstanceEvent.objects.exists()
    assert HostReport.objects.get().digest == "d"
    report_ingest.observe()
    assert InstanceEvent.objects.get().count == 2


def test_a_first_report_counts_what_has_happened_so_far(world: World, reports: Reports) -> None:
    entry = crashed(world)
    HostReport.objects.all().delete()
    reports.host(digest="d9", inventory=[entry])
    report_ingest.observe()
    assert InstanceEvent.objects.get().count == 2


@pytest.mark.parametrize(
    "text", ['{"v": 1, "seq": NaN}', "[" * 100_000, '{"v": 1, "digest": "\\ud800"}']
)
def test_a_report_that_no_database_takes_harms_no_other_host(
    world: World, reports: Reports, text: str
) -> None:
    other: Host = make_host("other", is_seen=False)
    reports.client.set("report.host.other", text, px=29_000)
    reports.host(digest="d9", inventory=[crashed(world)])
    report_ingest.observe()
    reports.client.delete("report.host.other")
    assert InstanceEvent.objects.count() == 1
    assert not HostReport.objects.filter(host=other).exists()


def test_the_record_understands_every_field_of_a_status_that_a_host_sends() -> None:
    status = InstanceStatus(
        "ins_aaaaaaaa",
        ContainerState.RUNNING,
        restarts=4,
        exit_code=137,
        oom_kills=2,
        crash_looping=True,
        last_lines=("one", "two"),
        disk=DiskState.OVER,
    )
    sent = json.loads(json.dumps(report.entry(status) | {"throttled_percent": 30}))
    (seen,) = events.seen_in([sent]).values()
    assert seen == events.Seen(4, 2, True, "over", 30, 137)
    assert seen.last_lines == ("one", "two")
    calm = InstanceStatus("ins_aaaaaaaa", ContainerState.RUNNING)
    assert events.seen_in([report.entry(calm)]) == {"ins_aaaaaaaa": events.Seen()}
