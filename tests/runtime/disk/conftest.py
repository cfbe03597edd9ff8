"""A store of the tests' own in a file, and a host that has one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.disk import Spaces, loop
from runtime.units import MIB
from tests.runtime.hosts import Host, lack_of_store


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A host's state directory with a mounted store; nothing of it is left afterwards."""
    if lack := lack_of_store():
        pytest.skip(lack)
    place = tmp_path / "host"
    place.mkdir(mode=0o700)
    loop.ensure(place, 256 * MIB)
    yield place
    loop.release(place)


@pytest.fixture
def spaces(state_dir: Path) -> Spaces:
    return Spaces(state_dir)


@pytest.fixture
def store_host(host: Host) -> Host:
    """A host with a store that enforces, and no keeper yet."""
    if lack := lack_of_store():
        pytest.skip(lack)
    host.make_store()
    return host
