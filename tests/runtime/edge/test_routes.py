"""The table of routes by itself: versions, gaps, full tables, differences."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.edge.config import EdgeConfig
from runtime.edge.routes import EdgeRoute, MapChanges, RouteTable, check_route, diff, digest
from runtime.errors import SpecInvalidError


def test_new_changed_and_withdrawn_routes_become_add_change_and_delete() -> None:
    table = RouteTable()
    assert table.apply([EdgeRoute("a.x", "a@hold", 1, 1)]) == MapChanges(add=(("a.x", "a@hold"),))
    assert table.apply([EdgeRoute("a.x", "a@asleep", 2, 2)]) == MapChanges(
        change=(("a.x", "a@asleep"),)
    )
    assert table.apply([EdgeRoute("a.x", "", 3, 3)]) == MapChanges(delete=("a.x",))
    assert len(table) == 0


def test_a_lower_version_of_a_hostname_is_ignored_even_after_its_withdrawal() -> None:
    table = RouteTable()
    table.apply([EdgeRoute("a.x", "a@hold", 5, 1), EdgeRoute("a.x", "", 6, 2)])
    assert not table.apply([EdgeRoute("a.x", "a@asleep", 4, 3)])
    assert table.get("a.x") == ""


def test_several_changes_of_one_hostname_in_one_call_become_one_command() -> None:
    table = RouteTable()
    changes = table.apply([EdgeRoute("a.x", "a@hold", 1, 1), EdgeRoute("a.x", "a@asleep", 2, 2)])
    assert changes == MapChanges(add=(("a.x", "a@asleep"),))
    assert not table.apply([EdgeRoute("b.x", "b@hold", 1, 3), EdgeRoute("b.x", "", 2, 4)])


def test_a_missing_sequence_shows_as_a_gap_until_it_arrives() -> None:
    table = RouteTable()
    table.apply([EdgeRoute("a.x", "a@hold", 1, 1), EdgeRoute("c.x", "c@hold", 1, 3)])
    assert table.has_gap
    assert table.sequence == 1
    table.apply([EdgeRoute("b.x", "b@hold", 1, 2)])
    assert not table.has_gap
    assert table.sequence == 3


def test_a_full_table_replaces_everything_but_what_came_while_it_was_fetched() -> None:
    table = RouteTable()
    table.apply([EdgeRoute("old.x", "a@hold", 1, 1)])
    table.expect_replacement()
    table.apply([EdgeRoute("new.x", "n@hold", 1, 3)])
    changes = table.replace([EdgeRoute("b.x", "b@hold", 1)], sequence=2)
    assert changes == MapChanges(add=(("b.x", "b@hold"),), delete=("old.x",))
    assert table.wanted() == {"b.x": "b@hold", "new.x": "n@hold"}
    assert table.sequence == 3


def test_a_full_table_of_a_restored_record_wins_over_higher_sequences() -> None:
    table = RouteTable()
    table.apply([EdgeRoute("a.x", "stranger@127.0.0.1:20000", 9, 1)])
    table.expect_replacement()
    table.replace([EdgeRoute("a.x", "a@hold", 1)], sequence=0)
    assert table.wanted() == {"a.x": "a@hold"}
    assert table.sequence == 0
    table.apply([EdgeRoute("a.x", "a@asleep", 2, 1)])
    assert table.get("a.x") == "a@asleep"


def test_the_digest_is_the_agreed_one_and_leaves_withdrawn_routes_out() -> None:
    table = RouteTable()
    table.apply(
        [
            EdgeRoute("b.x", "b@hold", 2, 1),
            EdgeRoute("a.x", "a@hold", 1, 2),
            EdgeRoute("c.x", "", 1, 3),
        ]
    )
    assert table.digest() == sha256(b"a.x a@hold 1\nb.x b@hold 2").hexdigest()
    assert table.digest() == digest([EdgeRoute("a.x", "a@hold", 1), EdgeRoute("b.x", "b@hold", 2)])


NAMES = st.sampled_from(["a.x", "b.x", "c.x", "d.x"])
VALUES = st.sampled_from(["1", "2", "3"])


@given(st.dictionaries(NAMES, VALUES), st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_carrying_out_a_difference_gives_the_wanted_map_without_doubles(
    wanted: dict[str, str], actual: list[tuple[str, str]]
) -> None:
    changes = diff(wanted, actual)
    held = list(actual)
    for key in changes.delete:
        held = [entry for entry in held if entry[0] != key]
    for key, value in changes.change:
        assert [k for k, _ in held].count(key) == 1
        held = [(k, value if k == key else v) for k, v in held]
    for key, value in changes.add:
        assert key not in [k for k, _ in held]
        held.append((key, value))
    assert sorted(held) == sorted(wanted.items())


@given(st.permutations([EdgeRoute("a.x", f"t@127.0.0.1:{20000 + n}", n, n) for n in range(1, 6)]))
def test_calls_may_arrive_in_any_order(routes: list[EdgeRoute]) -> None:
    table = RouteTable()
    for route in routes:
        table.apply([route])
    assert table.get("a.x") == "t@127.0.0.1:20005"
    assert table.sequence == 5
    assert not table.has_gap


@pytest.mark.parametrize(
    ("route", "field"),
    [
        (EdgeRoute("A.x", "a@hold", 1), "hostname"),
        (EdgeRoute("a.x.", "a@hold", 1), "hostname"),
        (EdgeRoute("a.x:80", "a@hold", 1), "hostname"),
        (EdgeRoute("a.x\n", "a@hold", 1), "hostname"),
        (EdgeRoute("a.x b", "a@hold", 1), "hostname"),
        (EdgeRoute("a.x;show", "a@hold", 1), "hostname"),
        (EdgeRoute("x" * 300, "a@hold", 1), "hostname"),
        (EdgeRoute("console.test", "a@hold", 1), "hostname"),
        (EdgeRoute("a.x", "a@held", 1), "value"),
        (EdgeRoute("a.x", "a@hold\n", 1), "value"),
        (EdgeRoute("a.x", "a@127.0.0.1", 1), "value"),
        (EdgeRoute("a.x", "a@127.0.0.1:0", 1), "value"),
        (EdgeRoute("a.x", "a@127.0.0.1:9999", 1), "value"),
        (EdgeRoute("a.x", "a@8.8.8.8:20000", 1), "value"),
        (EdgeRoute("a.x", "a@1.2.3:20000", 1), "value"),
        (EdgeRoute("a.x", "a@0.0.0.0:20000", 1), "value"),
        (EdgeRoute("a.x", "@127.0.0.1:20000", 1), "value"),
        (EdgeRoute("a.x", "a@hold", -1), "version"),
        (EdgeRoute("a.x", "a@hold", 1, -1), "sequence"),
    ],
)
def test_a_route_this_edge_cannot_serve_is_refused_by_the_name_of_its_field(
    config: EdgeConfig, route: EdgeRoute, field: str
) -> None:
    with pytest.raises(SpecInvalidError) as refused:
        check_route(route, config)
    assert refused.value.details["field"] == field


def test_routes_this_edge_can_serve_pass(config: EdgeConfig) -> None:
    for value in ("", "a@hold", "a@asleep", "ten_1@127.4.0.1:20000"):
        route = EdgeRoute("shop.example.com", value, 1, 1)
        assert check_route(route, config) is route
