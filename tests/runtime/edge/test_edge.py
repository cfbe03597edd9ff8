"""Table, disk and a real HAProxy's map stay the same whatever is killed."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.edge.edge import FullTable, HaproxyEdge
from runtime.edge.routes import EdgeRoute, digest
from runtime.edge.store import RouteStore
from runtime.errors import CommandFailedError, HostError, SpecInvalidError
from tests.runtime.edge.conftest import Front, make_config


def shown(front: Front) -> dict[str, str]:
    entries = list(front.edge._proxy.show_map(front.config.map_path))
    assert len(dict(entries)) == len(entries), "a key stands in the map twice"
    return dict(entries)


def many(count: int, *, version: int = 1, port: int = 20000, since: int = 0) -> list[EdgeRoute]:
    return [
        EdgeRoute(f"s{n}.localhost", f"s{n}@127.0.0.1:{port}", version, since + n + 1)
        for n in range(count)
    ]


def full(routes: list[EdgeRoute], sequence: int) -> FullTable:
    return FullTable(sequence, digest(routes), tuple(routes))


def test_thousands_of_routes_are_added_changed_and_withdrawn_without_doubles(front: Front) -> None:
    front.edge.apply(many(3000))
    assert len(shown(front)) == 3000
    front.edge.apply(many(3000, version=2, port=20001, since=3000))
    assert set(shown(front).values()) == {f"s{n}@127.0.0.1:20001" for n in range(3000)}
    front.edge.apply([EdgeRoute(f"s{n}.localhost", "", 3, 6000 + n + 1) for n in range(2999)])
    assert shown(front) == {"s2999.localhost": "s2999@127.0.0.1:20001"}


def test_a_repeat_of_a_call_changes_nothing(front: Front) -> None:
    for _ in range(3):
        front.edge.apply(many(5))
    assert len(shown(front)) == 5


def test_foreign_changes_of_the_map_are_repaired(front: Front) -> None:
    front.edge.apply(many(10))
    path = front.config.map_path
    front.edge._proxy.command(f"add map {path} s1.localhost thief@127.0.0.1:20009\n")
    front.edge._proxy.command(f"add map {path} more.localhost thief@127.0.0.1:20009\n")
    front.edge._proxy.command(f"del map {path} s2.localhost\n")
    front.edge.watch(now=time.monotonic() + 61)
    assert shown(front) == {r.hostname: r.value for r in many(10)}


def test_a_change_that_haproxy_refuses_ends_in_a_repaired_map(front: Front) -> None:
    front.edge.apply(many(3))
    front.edge._proxy.command(f"del map {front.config.map_path} s1.localhost\n")
    front.edge.apply([EdgeRoute("s1.localhost", "s1@asleep", 2, 4)])  # `set map` finds no entry
    assert shown(front)["s1.localhost"] == "s1@asleep"


def test_after_a_restart_of_haproxy_the_map_is_put_back_by_the_next_apply_or_watch(
    front: Front,
) -> None:
    front.edge.apply(many(4))
    front.stop()
    with pytest.raises(HostError, match="HAProxy does not answer"):
        front.edge.apply([EdgeRoute("late.localhost", "late@hold", 1, 5)])
    assert not front.edge.is_in_step
    front.start(wanted={"stale.localhost": "gone@127.0.0.1:20000"})
    front.edge.watch()
    assert set(shown(front)) == {r.hostname for r in many(4)} | {"late.localhost"}
    front.stop()
    front.start(wanted={"stale.localhost": "gone@127.0.0.1:20000"})
    front.edge.apply([EdgeRoute("late.localhost", "", 2, 6)])
    assert set(shown(front)) == {r.hostname for r in many(4)}


def test_a_reload_is_followed_although_the_master_stays(front: Front) -> None:
    front.edge.apply(many(2))
    front.reload()
    front.edge.apply([EdgeRoute("s0.localhost", "", 2, 3)])
    assert set(shown(front)) == {"s1.localhost"}


def test_one_wrong_route_is_refused_and_keeps_no_other_out_of_step(front: Front) -> None:
    with pytest.raises(SpecInvalidError, match=r"8\.8\.8\.8"):
        front.edge.apply([*many(1), EdgeRoute("bad.localhost", "x@8.8.8.8:20000", 1, 2)])
    assert set(shown(front)) == {"s0.localhost"}
    assert not front.edge.has_gap
    assert list(front.edge.refused) == ["bad.localhost"]
    front.edge.apply([EdgeRoute("bad.localhost", "x@127.0.0.1:20000", 2, 3)])
    assert front.edge.refused == {}
    assert set(shown(front)) == {"s0.localhost", "bad.localhost"}


def test_a_wrong_route_does_not_lead_on_to_where_its_name_led_before(front: Front) -> None:
    front.edge.apply(many(1))
    with pytest.raises(SpecInvalidError):
        front.edge.apply([EdgeRoute("s0.localhost", "s0@8.8.8.8:20000", 2, 2)])
    assert shown(front) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        EdgeRoute("wrong.localhost", "w@8.8.8.8:20000", 1, 4),
        EdgeRoute("wrong.localhost", "w@127.0.0.1:80", 1, 4),
        EdgeRoute("console.test", "w@127.0.0.1:20000", 1, 4),
        EdgeRoute("WRONG.localhost", "w@127.0.0.1:20000", 1, 4),
        EdgeRoute("wrong.localhost", "nonsense", 1, 4),
    ],
)
def test_a_full_table_is_served_but_for_the_single_wrong_route(
    front: Front, wrong: EdgeRoute
) -> None:
    summary = front.edge.resync(lambda: full([*many(3), wrong], 4))
    assert (summary.sequence, summary.count) == (4, 3)
    assert set(shown(front)) == {"s0.localhost", "s1.localhost", "s2.localhost"}
    assert list(front.edge.refused) == [wrong.hostname]
    front.edge.resync(lambda: full(many(3), 5))
    assert front.edge.refused == {}


def test_a_full_table_replaces_the_map_and_is_kept_on_disk(front: Front) -> None:
    front.edge.apply(many(5))
    summary = front.edge.resync(lambda: full(many(500)[3:], 700))
    assert (summary.sequence, summary.count) == (700, 497)
    assert len(shown(front)) == 497
    kept = RouteStore(front.config.state_dir).load()
    assert kept
    assert kept.wanted() == shown(front)
    assert front.config.map_path.read_text().count("\n") == 497


def test_a_damaged_full_table_is_refused_and_nothing_changes(front: Front) -> None:
    front.edge.apply(many(5))
    with pytest.raises(HostError, match="digest"):
        front.edge.resync(lambda: FullTable(9, "0" * 64, tuple(many(2))))
    assert len(shown(front)) == 5


def test_nothing_acknowledged_is_lost_when_the_agent_is_killed(tmp_path: Path) -> None:
    config = make_config(tmp_path / "edge")
    first = HaproxyEdge(config)
    first.resync(lambda: full(many(3), 3))
    for route in [EdgeRoute("s0.localhost", "", 2, 4), EdgeRoute("n.localhost", "n@hold", 1, 5)]:
        with pytest.raises(HostError):  # no HAProxy here; the change is noted before it is tried
            first.apply([route])
    journal = config.state_dir / "routes.journal"
    journal.write_text(journal.read_text() + '["cut.localhost", "c@ho')
    second = HaproxyEdge(config)
    assert second.summary() == first.summary()
    assert second.lookup("s0.localhost") == ""
    assert second.lookup("n.localhost") == "n@hold"
    assert second.summary().sequence == 5


def test_the_disk_is_written_at_most_every_five_seconds(front: Front) -> None:
    front.edge.save(now=100.0)
    front.edge.apply(many(2))
    front.edge.watch(now=104.0)
    assert front.config.map_path.read_text() == ""
    front.edge.watch(now=105.0)
    assert front.config.map_path.read_text().count("\n") == 2


def test_a_state_file_that_is_cut_off_is_not_believed(tmp_path: Path) -> None:
    config = make_config(tmp_path / "edge")
    HaproxyEdge(config).resync(lambda: full(many(30), 30))
    state = config.state_dir / "routes.state"
    state.write_text(state.read_text()[:-40])
    assert RouteStore(config.state_dir).load() is None


def test_a_command_haproxy_does_not_know_is_an_error(front: Front) -> None:
    with pytest.raises(CommandFailedError, match="refused"):
        front.edge._proxy.command("frobnicate\n")
    with pytest.raises(CommandFailedError, match="refused"):
        list(front.edge._proxy.show_map(Path("/no/such.map")))


@pytest.mark.long
@pytest.mark.slow
def test_a_hundred_thousand_routes_fit_through_the_socket(make_front: Callable[..., Front]) -> None:
    front = make_front()
    front.start()
    routes = many(100_000)
    began = time.monotonic()
    front.edge.resync(lambda: full(routes, 100_000))
    whole = time.monotonic() - began
    assert len(shown(front)) == 100_000
    began = time.monotonic()
    front.edge.apply([EdgeRoute("one.localhost", "one@hold", 1, 100_001)])
    one = time.monotonic() - began
    print(f"\n100,000 routes: {whole:.2f} s; one more: {one * 1000:.1f} ms")
    assert one < 0.5
