"""Alive, unreachable, lost: silence alone is no loss, and many silent at once are our fault."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from runtime.edge.probe import ProbeTarget
from runtime.errors import HostUnreachableError
from tenants.core.models import Alarm, PeriodicRun, Transition
from tenants.errors import StateConflictError
from tenants.operations.models import Operation
from tenants.pool import health as record
from tenants.pool.models import Host, HostReport
from tenants.states import HostHealth, Verb
from tests.workers.conftest import World, make_host
from workers.reconcilers import host_health
from workers.reconcilers.host_health import HostObservation, judge
from workers.rpc.edge_types import EdgeSeat

LONG = 1000.0


@dataclass
class MemoryReach:
    """Edges that reach all hosts but those in `dark`; None: no edge answers. Hosts that obey, or not."""

    dark: set[str] | None = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)
    asked: list[list[str]] = field(default_factory=list)
    adopted: list[tuple[str, int, tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)

    def probe(
        self, edges: Collection[EdgeSeat], places: Sequence[ProbeTarget]
    ) -> Mapping[str, set[str]]:
        self.asked.append([place.host for place in places])
        if self.dark is None:
            return {}
        return {edge.name: {one.host for one in places} - self.dark for edge in edges}

    def adopt(
        self, host: str, epoch: int, *, keep: Sequence[str], delete: Sequence[str]
    ) -> tuple[str, ...]:
        if host in self.deaf:
            raise HostUnreachableError(f"{host} is silent")
        self.adopted.append((host, epoch, tuple(keep), tuple(delete)))
        return ()


def sight(
    number: int, silent: float, health_now: str = "unreachable", **more: object
) -> HostObservation:
    return HostObservation(number, f"h{number}", health_now, silent, **more)  # type: ignore[arg-type]


def well(count: int, first: int = 100) -> list[HostObservation]:
    return [sight(first + number, 1.0, "alive") for number in range(count)]


def test_a_host_that_reports_is_left_as_it_is() -> None:
    verdict = judge(well(3), heard_for=LONG)
    assert (verdict.alive, verdict.unreachable, verdict.lost, verdict.alarm) == ({}, {}, {}, "")


def test_silence_makes_a_host_unreachable_and_no_more() -> None:
    verdict = judge([sight(1, 9, "alive"), *well(3)], heard_for=LONG)
    assert set(verdict.unreachable) == {1}
    assert not judge([sight(1, 900), *well(3)], heard_for=LONG).lost


def test_silence_counts_only_while_reports_could_be_read() -> None:
    sights = [sight(1, 60, "alive"), sight(2, 61, "alive")]
    for listening_for in (0.0, 7.9):
        verdict = judge(sights, heard_for=0.0, listening_for=listening_for)
        assert not verdict.unreachable
        assert not verdict.alarm
    assert judge(sights, heard_for=0.0, listening_for=8.1).unreachable.keys() == {1, 2}


@pytest.mark.parametrize(
    ("silent", "unreached", "heard_for", "is_lost"),
    [
        (15.0, 3.0, LONG, True),
        (14.9, 10.0, LONG, False),  # not silent for long enough
        (900.0, None, LONG, False),  # an edge reaches it, or none was asked
        (900.0, 2.0, LONG, False),  # one round of probes proves nothing
        (900.0, 10.0, 14.0, False),  # it was us who heard nobody
    ],
)
def test_a_host_is_lost_when_control_and_edges_have_missed_it_for_long_enough(
    silent: float, unreached: float | None, heard_for: float, is_lost: bool
) -> None:
    verdict = judge([sight(1, silent, unreached=unreached), *well(3)], heard_for=heard_for)
    assert (set(verdict.lost) == {1}) is is_lost


def test_many_silent_at_once_freeze_the_judgement_and_raise_an_alarm() -> None:
    silent = [sight(number, 60, unreached=40.0) for number in range(3)]
    verdict = judge([*silent, *well(9)], heard_for=LONG)
    assert verdict.lost == {}
    assert "3 of 12 hosts do not report. Not declaring more than 2 lost" in verdict.alarm
    assert len(judge([*silent, *well(12)], heard_for=LONG).lost) == 3


def test_of_two_hosts_one_may_be_lost_and_those_lost_before_do_not_count() -> None:
    lost_before = [sight(50 + number, LONG, "lost") for number in range(5)]
    verdict = judge([sight(1, 60, unreached=40.0), *well(1), *lost_before], heard_for=LONG)
    assert set(verdict.lost) == {1}


def test_a_lost_host_is_alive_again_only_once_it_knows_its_epoch() -> None:
    assert judge([sight(1, 1, "lost", is_adopted=False)], heard_for=LONG).alive == {}
    assert set(judge([sight(1, 1, "lost")], heard_for=LONG).alive) == {1}


@pytest.fixture
def pool(world: World) -> World:
    """Four hosts that were heard just now, and an observer that has heard them for long."""
    for name in ("second", "third", "fourth"):
        make_host(name)
    PeriodicRun.objects.create(
        name="hearing", started_at=Now() - timedelta(hours=1), finished_at=Now()
    )
    HostReport.objects.update(epoch=1)
    return world


def silence(name: str, seconds: float) -> None:
    HostReport.objects.filter(host__name=name).update(seen_at=Now() - timedelta(seconds=seconds))


def unreached_since(name: str, seconds: float) -> None:
    Host.objects.filter(name=name).update(unreached_since=Now() - timedelta(seconds=seconds))


def state(name: str) -> str:
    return str(Host.objects.get(name=name).health)


def test_a_dead_host_becomes_unreachable_then_lost_and_its_shops_are_brought_back(
    pool: World,
) -> None:
    tenant = pool.live_tenant()
    name = tenant.instances.get().placements.get().host.name
    reach = MemoryReach(dark={name})
    silence(name, 9)
    host_health.carry_out(reach)
    assert state(name) == HostHealth.UNREACHABLE
    silence(name, 16)
    host_health.carry_out(reach)
    assert state(name) == HostHealth.UNREACHABLE  # no edge has missed it for long enough yet
    unreached_since(name, 4)
    host_health.carry_out(reach)
    assert state(name) == HostHealth.LOST
    assert Host.objects.get(name=name).epoch == 2
    assert Operation.objects.get(tenant=tenant, verb=Verb.RECOVER).is_open
    assert Alarm.objects.filter(key=f"health.lost.{name}", cleared_at=None).exists()
    told = (
        Transition.objects.filter(subject="host").order_by("pk").values_list("new_state", flat=True)
    )
    assert list(told) == ["unreachable", "lost"]


def test_a_host_whose_visitors_still_come_through_is_never_lost(pool: World) -> None:
    reach = MemoryReach()
    silence("local", 300)
    for _ in range(3):
        host_health.carry_out(reach)
    assert state("local") == HostHealth.UNREACHABLE
    assert reach.asked[-1] == ["local"]
    silence("local", 0)
    host_health.carry_out(reach)
    assert state("local") == HostHealth.ALIVE


def test_without_an_edge_that_answers_nobody_is_lost(pool: World) -> None:
    silence("local", 300)
    unreached_since("local", 200)
    host_health.carry_out(MemoryReach(dark=None))
    host_health.carry_out(MemoryReach(dark=None))
    assert state("local") == HostHealth.UNREACHABLE


def test_after_a_time_without_an_observer_the_clock_begins_anew(pool: World) -> None:
    PeriodicRun.objects.filter(name="hearing").update(finished_at=Now() - timedelta(minutes=5))
    silence("local", 300)
    unreached_since("local", 200)
    for _ in range(3):
        host_health.carry_out(MemoryReach(dark={"local"}))
    assert state("local") == HostHealth.UNREACHABLE


def test_while_no_host_is_heard_nobody_is_lost(pool: World) -> None:
    HostReport.objects.update(seen_at=Now() - timedelta(seconds=60))
    Host.objects.update(
        health=HostHealth.UNREACHABLE, unreached_since=Now() - timedelta(seconds=50)
    )
    host_health.carry_out(MemoryReach(dark={"local", "second", "third", "fourth"}))
    assert not Host.objects.filter(health=HostHealth.LOST).exists()
    assert Alarm.objects.filter(key="health.many_silent", cleared_at=None).exists()


def test_a_host_that_returns_is_told_what_is_its_own_before_it_counts(pool: World) -> None:
    tenant = pool.live_tenant()
    placement = tenant.instances.get().placements.get()
    Host.objects.filter(pk=placement.host_id).update(health=HostHealth.LOST, epoch=F("epoch") + 1)
    reach = MemoryReach(deaf={placement.host.name})
    host_health.adopt_hosts(reach)
    host_health.carry_out(reach)
    assert state(placement.host.name) == HostHealth.LOST
    reach.deaf.clear()
    host_health.adopt_hosts(reach)
    assert reach.adopted == [(placement.host.name, 2, (placement.instance.public_id,), ())]
    HostReport.objects.filter(host=placement.host_id).update(epoch=2)
    host_health.carry_out(reach)
    assert state(placement.host.name) == HostHealth.ALIVE


def test_an_operator_may_declare_an_unreachable_host_lost_and_no_other(pool: World) -> None:
    host = Host.objects.get(name="local")
    with pytest.raises(StateConflictError, match="is not unreachable"):
        record.declare_lost(host, by="op@example.org")
    Host.objects.filter(pk=host.pk).update(health=HostHealth.UNREACHABLE)
    record.declare_lost(host, by="op@example.org")
    assert state("local") == HostHealth.LOST


def test_a_round_over_a_calm_pool_costs_the_same_whatever_its_size(pool: World) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            host_health.carry_out(MemoryReach())
        return len(seen)

    few = queries()
    for number in range(30):
        make_host(f"more{number}")
    assert queries() == few


def test_hosts_that_were_taken_out_of_the_pool_are_not_missed(pool: World) -> None:
    Host.objects.exclude(name="local").update(state="removed")
    HostReport.objects.exclude(host__name="local").update(seen_at=Now() - timedelta(hours=5))
    host_health.carry_out(MemoryReach())
    assert not Alarm.objects.filter(key__startswith="health.", cleared_at=None).exists()


def test_a_host_that_is_ahead_of_the_record_is_an_alarm(pool: World) -> None:
    HostReport.objects.filter(host__name="second").update(epoch=7)
    host_health.carry_out(MemoryReach())
    assert Alarm.objects.filter(key="health.ahead.second", cleared_at=None).exists()


def test_no_host_becomes_unreachable_because_the_observer_was_away(pool: World) -> None:
    tenant = pool.live_tenant()
    host = tenant.instances.get().placements.get().host
    silence(host.name, 60)
    observed = PeriodicRun.objects.create(
        name="observe",
        started_at=Now() - timedelta(seconds=60),
        finished_at=Now() - timedelta(seconds=60),
        unbroken_since=Now() - timedelta(hours=1),
    )
    host_health.carry_out(MemoryReach())
    assert Host.objects.get(pk=host.pk).health == HostHealth.ALIVE
    PeriodicRun.objects.filter(pk=observed.pk).update(
        finished_at=Now(), unbroken_since=Now() - timedelta(seconds=2)
    )
    host_health.carry_out(MemoryReach())
    assert Host.objects.get(pk=host.pk).health == HostHealth.ALIVE
    PeriodicRun.objects.filter(pk=observed.pk).update(unbroken_since=Now() - timedelta(seconds=9))
    host_health.carry_out(MemoryReach())
    assert Host.objects.get(pk=host.pk).health == HostHealth.UNREACHABLE
