"""A container stands still for a moment and never for longer, whoever is killed meanwhile."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from runtime.errors import InputError
from runtime.keeper.client import KeeperClient
from runtime.keeper.loop import Loop
from runtime.keeper.watching import freezing as freezing_module
from runtime.keeper.watching.freezing import Freezing
from runtime.volume_requests import VolumeSave
from tests.runtime.hosts import Host, fetch, wait_until
from tests.runtime.keeper.yard import Ear
from tests.runtime.promises.subject import FIRST
from tests.runtime.shelves import shelf

pytestmark = pytest.mark.root


@pytest.fixture
def keeper(host: Host) -> KeeperClient:
    host.start_keeper()
    return KeeperClient(host.config.keeper_socket)


def stands_still(host: Host, address: str) -> bool:
    return fetch(address, 8000) == b""


def running(host: Host) -> str:
    return host.driver().ensure_running(host.spec(volume="acme"), fence=FIRST).address


def test_a_frozen_container_goes_on_when_told_to(host: Host, keeper: KeeperClient) -> None:
    address = running(host)
    keeper.ask("freeze", id=host.spec().instance_id, seconds=8)
    assert stands_still(host, address)
    assert keeper.ask("thaw", id=host.spec().instance_id)["held"] is True
    assert b"well" in fetch(address, 8000)
    assert keeper.ask("thaw", id=host.spec().instance_id)["held"] is False


def test_one_that_does_not_stand_still_keeps_the_keeper_from_nothing_and_goes_on(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a process that waits in the kernel."""
    loop, cgroups, told = Loop(), host.cgroups, Ear()
    freezing = Freezing(loop, cgroups)
    tries: list[str] = []

    def never(instance_id: str) -> bool:
        tries.append(instance_id)
        return False

    monkeypatch.setattr(cgroups, "freeze_once", never)
    began = time.monotonic()
    freezing.freeze("ins_still00000", told, seconds=5)
    assert time.monotonic() - began < freezing_module.STILL_SECONDS / 2, "it waits for it"
    while not told.told:
        loop.turn(0.01)
    assert "does not stand still within 0.5 s" in str(told.told[0]["message"])
    assert len(tries) > 2
    assert freezing.thaw("ins_still00000") is False


def test_whoever_asked_may_be_killed_the_container_goes_on_after_its_time(
    host: Host, keeper: KeeperClient
) -> None:
    address = running(host)
    keeper.ask("freeze", id=host.spec().instance_id, seconds=0.5)
    wait_until(lambda: b"well" in fetch(address, 8000), what="it goes on")
    assert keeper.ask("thaw", id=host.spec().instance_id)["held"] is False


def test_what_a_killed_keeper_left_frozen_is_thawed_by_the_next(
    host: Host, keeper: KeeperClient
) -> None:
    address = running(host)
    keeper.ask("freeze", id=host.spec().instance_id, seconds=10)
    host.end_keeper(signal.SIGKILL)
    host.start_keeper()
    wait_until(lambda: b"well" in fetch(address, 8000), what="it answers again")


def test_a_frozen_container_can_be_stopped_and_nothing_is_frozen_for_long(
    host: Host, keeper: KeeperClient
) -> None:
    running(host)
    with pytest.raises(InputError, match="at most 10"):
        keeper.ask("freeze", id=host.spec().instance_id, seconds=60)
    keeper.ask("freeze", id=host.spec().instance_id, seconds=10)
    host.driver().ensure_stopped(host.spec().instance_id, fence=FIRST, grace_seconds=0)
    assert host.containers(host.spec()) == 0


def test_a_volume_that_has_to_be_copied_holds_its_container_for_milliseconds(
    host: Host, keeper: KeeperClient, tmp_path: Path
) -> None:
    running(host)
    volume = host.spaces.volume("acme")
    (volume / "large").write_bytes(os.urandom(40_000_000))
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            (volume / "hot").write_bytes(os.urandom(5000))
            time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with shelf() as there:
            save = VolumeSave("acme", "snp_00000001", "", there.address("snp_00000001"))
            saved = host.driver().save_volume(save)
    finally:
        stop.set()
        writer.join()
    print(f"frozen for {saved.frozen_ms:.1f} ms")
    assert 0 < saved.frozen_ms < 1000
