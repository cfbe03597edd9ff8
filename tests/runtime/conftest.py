"""A private host for every test that wants one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.hosts import BUSYBOX, Host, write_test_image


@pytest.fixture(scope="session")
def test_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OCI layout of the test image."""
    if not BUSYBOX.exists():
        pytest.skip(f"no {BUSYBOX}: apt-get install busybox-static")
    to = tmp_path_factory.mktemp("layout")
    write_test_image(to)
    return to


@pytest.fixture
def host(tmp_path: Path, test_layout: Path) -> Iterator[Host]:
    """A host with the test image in its store and no keeper yet; everything of it is gone afterwards."""
    state_dir = tmp_path / "host"
    state_dir.mkdir()
    host = Host(state_dir)
    host.digest = host.images.import_layout(test_layout, "test")
    yield host
    host.close()
