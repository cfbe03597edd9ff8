"""When an edge asks for the whole table by itself; time is given, nothing runs beside."""

from pathlib import Path

import pytest

from runtime.edge.edge import FullTable, HaproxyEdge
from runtime.edge.routes import EdgeRoute, digest
from runtime.errors import HostError, HostUnreachableError
from tests.runtime.edge.conftest import make_config
from workers.agents.edge.watch import EdgeWatch


class Record:
    """The control plane's table and how often it was asked for."""

    def __init__(self) -> None:
        self.routes: tuple[EdgeRoute, ...] = ()
        self.sequence, self.asked, self.is_away = 0, 0, False

    def fetch(self, seconds: float) -> FullTable:
        self.asked += 1
        if self.is_away:
            raise HostUnreachableError("away")
        return FullTable(self.sequence, digest(self.routes), self.routes)


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def edge(tmp_path: Path) -> HaproxyEdge:
    return HaproxyEdge(make_config(tmp_path / "edge"))


def step(watch: EdgeWatch, now: float) -> None:
    with pytest.raises(HostError):  # there is no HAProxy here
        watch.step(now=now)


def test_the_table_is_fetched_once_and_then_every_minute_or_so(
    edge: HaproxyEdge, record: Record
) -> None:
    watch = EdgeWatch(edge, fetch=record.fetch)
    for second in range(100, 140):
        step(watch, second)
    assert record.asked == 1
    for second in range(140, 176):
        step(watch, second)
    assert record.asked == 2


def test_a_change_whose_call_was_lost_arrives_with_the_next_fetch(
    edge: HaproxyEdge, record: Record
) -> None:
    watch = EdgeWatch(edge, fetch=record.fetch)
    step(watch, 100)
    record.routes, record.sequence = (EdgeRoute("a.localhost", "a@hold", 1),), 1
    step(watch, 173)
    assert edge.lookup("a.localhost") == "a@hold"


def test_a_gap_that_closes_by_itself_costs_no_fetch(edge: HaproxyEdge, record: Record) -> None:
    watch = EdgeWatch(edge, fetch=record.fetch)
    step(watch, 100)
    for sequence, second in ((2, 101), (1, 102)):
        with pytest.raises(HostError):
            edge.apply([EdgeRoute(f"s{sequence}.localhost", "a@hold", 1, sequence)])
        step(watch, second)
    for second in range(103, 120):
        step(watch, second)
    assert record.asked == 1


def test_a_control_plane_that_is_away_is_asked_less_and_less_often(
    edge: HaproxyEdge, record: Record
) -> None:
    record.is_away = True
    watch = EdgeWatch(edge, fetch=record.fetch)
    for second in range(100, 160):
        step(watch, second)
    assert 6 <= record.asked <= 11
    assert watch.collect()["ready"] is False
    record.is_away = False
    for second in range(160, 172):
        step(watch, second)
    assert record.asked <= 12


def test_a_gap_that_stays_makes_an_edge_fetch_after_two_seconds(
    edge: HaproxyEdge, record: Record
) -> None:
    watch = EdgeWatch(edge, fetch=record.fetch)
    step(watch, 100)
    with pytest.raises(HostError):
        edge.apply([EdgeRoute("s.localhost", "a@hold", 1, 5)])
    record.sequence = 5
    step(watch, 101)
    step(watch, 102)
    assert record.asked == 1
    step(watch, 103)
    assert record.asked == 2
    assert not edge.has_gap
