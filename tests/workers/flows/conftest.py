"""The pool that the tests of flows share: hosts, edges and a place for copies, none of them real."""

from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from tests.workers.conftest import World
from tests.workers.flows.pool import QUIET, Pool, Shelf, make_pool
from workers.flows.steps import hold_swap


@pytest.fixture
def pool(world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pool:
    """A pool with copies; what is held is quiet after hundredths of a second."""
    settings.STOA_SNAPSHOTS = str(tmp_path / "repository")
    monkeypatch.setattr(hold_swap, "QUIET_SECONDS", QUIET)
    return make_pool(world, Shelf(tmp_path))
