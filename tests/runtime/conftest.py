"""A private host for every test that wants one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.image.store import ImageStore
from tests.runtime.hosts import BUSYBOX, Host, write_test_image
from tests.support import leftovers


@pytest.fixture(scope="session", autouse=True)
def no_leftovers() -> None:
    """What killed runs left takes no address from this one."""
    if os.geteuid() == 0 and shutil.which("nft"):
        leftovers.sweep()


@pytest.fixture(scope="session")
def test_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OCI layout of the test image."""
    if not BUSYBOX.exists():
        pytest.skip(f"no {BUSYBOX}: apt-get install busybox-static")
    to = tmp_path_factory.mktemp("layout")
    write_test_image(to)
    return to


@pytest.fixture(scope="session")
def test_images(tmp_path_factory: pytest.TempPathFactory, test_layout: Path) -> tuple[Path, str]:
    """An image store with the test image, to be copied, and the image's digest."""
    place = tmp_path_factory.mktemp("images") / "images"
    return place, ImageStore(place).import_layout(test_layout, "test")


@pytest.fixture
def host(tmp_path: Path, test_images: tuple[Path, str]) -> Iterator[Host]:
    """A host with the test image in its store and no keeper yet; everything of it is gone afterwards."""
    state_dir = tmp_path / "host"
    state_dir.mkdir()
    host = Host(state_dir)
    store, host.digest = test_images
    subprocess.run(["cp", "-a", store, state_dir / "images"], check=True)
    yield host
    host.close()
