"""A host that lacks an image fetches it when something of it is to run, and waits no longer than it may."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.config import ImageAccess
from runtime.errors import ImageUnavailableError, ImageUnknownError
from runtime.image import ImageStore, Supply
from runtime.image.fetch import Fetcher
from runtime.specs import Fence, VolumeFate
from tests.runtime.hosts import Host
from tests.runtime.image.layouts import Entry, layer, write_layout
from tests.runtime.image.registries import RegistryServer, missing
from tests.runtime.test_cli import runtime, said

pytestmark = pytest.mark.root
FIRST = Fence(1, 1)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    if missing():
        pytest.skip(missing())
    server = RegistryServer(tmp_path_factory.mktemp("registry"))
    server.start()
    yield server
    server.stop()


def test_a_start_fetches_the_image_from_its_registry(
    registry: RegistryServer, host: Host, test_layout: Path
) -> None:
    registry.push(test_layout, "shop:1", source="test")
    host.images.remove(host.digest)
    host.start_keeper()
    driver = host.driver()
    with pytest.raises(ImageUnknownError):
        driver.ensure_running(host.spec(), fence=FIRST)
    spec = replace(host.spec(), image_source=f"{registry.address}/shop:1@{host.digest}")
    assert driver.ensure_running(spec, fence=FIRST).healthy
    assert [one.users for one in driver.images()] == [(spec.instance_id,)]


def test_the_command_line_pulls_shows_and_collects(
    registry: RegistryServer, host: Host, tmp_path: Path
) -> None:
    digest = write_layout(tmp_path / "pulled", [layer(Entry("bin/app"))], name="pulled")
    registry.push(tmp_path / "pulled", "pulled:1", source="pulled")
    text = f"{registry.address}/pulled:1"
    assert said(host, "pull", text, "--name", "mine").strip() == digest
    assert "mine" in said(host, "images")
    assert "seconds ago" in said(host, "images") or "second ago" in said(host, "images")
    host.age_image(digest)
    host.start_keeper()
    host.driver().ensure_running(host.spec(), fence=FIRST)
    host.driver().ensure_stopped(host.spec().instance_id, fence=FIRST)
    host.age_image(host.digest)
    refusal = runtime(host, "image-gc")
    assert (refusal.returncode, refusal.stdout) == (1, "")
    assert "has not yet said which images to keep" in refusal.stderr
    keep = ("--keep", "sha256:" + "0" * 64)
    assert "would remove mine" in said(host, "image-gc", "--dry-run", *keep)
    assert "removed 0 images" in said(host, "image-gc", "--keep", digest)
    assert "removed 1 images" in said(host, "image-gc", *keep)
    assert [one.digest for one in host.images.list()] == [host.digest]
    host.driver().ensure_absent(host.spec().instance_id, fence=FIRST, volume=VolumeFate.DELETE)
    assert "removed 1 images" in said(host, "image-gc", *keep)


def test_a_hold_of_an_instance_that_is_nowhere_is_forgotten_after_a_while(host: Host) -> None:
    host.images.hold(host.digest, "ins_lost0001")
    host.age_image(host.digest)
    assert host.driver().collect_images(()) == ()
    os.utime(host.state_dir / "images/holds" / host.digest[7:] / "ins_lost0001", (0, 0))
    assert host.driver().collect_images(()) == (host.digest,)


def test_who_waits_too_long_is_told_to_ask_again_and_finds_it_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ImageStore(tmp_path / "store")
    digest = write_layout(tmp_path / "layout", [layer(Entry("bin/app"))])
    go_on, calls = threading.Event(), []

    def slow(_self: Fetcher, _wanted: str, _source: str) -> object:
        calls.append(1)
        go_on.wait(30)
        store.import_layout(tmp_path / "layout", "app")
        return store.status(digest)

    monkeypatch.setattr(Fetcher, "ensure", slow)
    supply = Supply(store, ImageAccess())
    for _ in range(2):
        with pytest.raises(ImageUnavailableError, match="still being fetched") as caught:
            supply.ensure(digest, "", wait_seconds=0.05)
        assert caught.value.may_repeat
    go_on.set()
    supply.ensure(digest, "", wait_seconds=30)
    assert len(calls) == 1


def test_what_a_killed_import_left_is_gone_when_the_agent_starts_again(host: Host) -> None:
    left = host.state_dir / "images" / "work" / "tmphalf"
    (left / "rootfs" / "bin").mkdir(parents=True)
    host.driver()
    assert not left.exists()
    assert [one.digest for one in host.images.list()] == [host.digest]
