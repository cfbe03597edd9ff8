"""Whatever lies in place of an edge's files, it begins with what is whole and goes on writing."""

from pathlib import Path

import pytest

from runtime.edge.routes import EdgeRoute, RouteTable
from runtime.edge.store import RouteStore
from runtime.system.files import remove_anything
from tests.runtime.test_damage import DAMAGES

FIRST = EdgeRoute("a.localhost", "a@100.96.1.0:10000", 1, 1)
LATER = EdgeRoute("b.localhost", "b@100.96.1.0:10001", 1, 2)
LINES = (b'["b.localhost", 5, 1, 2]\n', b'["b.localhost", "b@x:1", 1, null]\n', b"[" * 100_000)


def _kept(state_dir: Path) -> RouteStore:
    store, table = RouteStore(state_dir), RouteTable()
    table.apply([FIRST])
    store.save(table)
    store.append([LATER])
    return store


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["routes.state", "routes.journal"])
def test_damage_to_an_edge_s_files_costs_what_was_in_them_at_most(
    tmp_path: Path, name: str, damage: str
) -> None:
    store = _kept(tmp_path)
    DAMAGES[damage](tmp_path / name)
    found = RouteStore(tmp_path).load()
    if name == "routes.state":
        assert found is None  # the control plane is asked
    else:
        assert found is not None
        assert [one.hostname for one in found.entries()] == ["a.localhost"]
    store.append([LATER])
    table = RouteTable()
    table.apply([FIRST])
    store.save(table)
    store.append([LATER])
    again = RouteStore(tmp_path).load()
    assert again is not None
    assert {one.hostname for one in again.entries()} == {"a.localhost", "b.localhost"}


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_is_no_route_ends_the_journal(tmp_path: Path, line: bytes) -> None:
    _kept(tmp_path)
    remove_anything(tmp_path / "routes.journal")
    (tmp_path / "routes.journal").write_bytes(line)
    found = RouteStore(tmp_path).load()
    assert found is not None
    assert [one.hostname for one in found.entries()] == ["a.localhost"]
