"""A host with a store: a tenant that writes without end is stopped, and only that tenant."""

import os
from pathlib import Path

import pytest

from runtime import doctor
from runtime.crun import disks
from runtime.disk import Watermarks, conditions, loop
from runtime.specs import Fence, VolumeFate
from runtime.statuses import ContainerState, DiskState
from runtime.units import MIB, Limits
from tests.runtime.hosts import Host, fetch, wait_until, write_test_image

pytestmark = pytest.mark.root
FIRST = Fence(1, 1)
LIMITS = Limits(1000, 64 * MIB, 64, 20 * MIB)
# RLIMIT_FSIZE ends one file at the ceiling: the sum over several is what the quota is for.
FILL = "for n in 1 2 3 4; do dd if=/dev/zero of={place}/fill$n bs=65536 count=160; done; true"


def _fill(host: Host, instance_id: str, place: str) -> str:
    return (
        host.driver()
        .exec(instance_id, ("sh", "-c", FILL.format(place=place)), timeout_seconds=30)
        .output
    )


@pytest.mark.parametrize("place", ["/data", "/"])
def test_a_tenant_that_writes_without_end_is_stopped_and_its_neighbour_is_not(
    store_host: Host, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the volume, and in the layer of an image that runs as root inside."""
    monkeypatch.setattr(disks, "LOOK_SECONDS", 0.0)
    host = store_host
    write_test_image(tmp_path / "root", user="0", mark="root")
    host.digest = host.images.import_layout(tmp_path / "root", "root")
    host.start_keeper()
    driver = host.driver()
    greedy, other = (host.spec(n, volume=f"shop-{n}", ceilings=LIMITS) for n in (0, 1))
    for spec in (greedy, other):
        driver.ensure_running(spec, fence=FIRST)
    said = _fill(host, greedy.instance_id, place)
    assert "quota" in said.lower(), said

    def is_over() -> bool:
        os.sync()
        states = {one.instance_id: one.disk for one in driver.list()}
        return states == {greedy.instance_id: DiskState.OVER, other.instance_id: DiskState.OK}

    wait_until(is_over, what="the greedy one is shown as over its limit")
    samples = {one.instance_id: one.disk_bytes for one in driver.samples()}
    assert 19 * MIB <= samples[greedy.instance_id] <= 21 * MIB
    assert samples[other.instance_id] < MIB
    assert host.spaces.quota.limit_of("shop-0") == 21 * MIB, "the extra, once"
    wrote = driver.exec(other.instance_id, ("sh", "-c", "echo fine > /data/x && cat /data/x"))
    assert wrote.output == "fine\n"
    for spec in (greedy, other):
        assert b"well" in fetch(str(host.config.address), spec.published_port)


def test_a_full_tenant_is_started_again_and_removed_whole(store_host: Host) -> None:
    host = store_host
    host.start_keeper()
    driver = host.driver()
    spec = host.spec(volume="acme", ceilings=LIMITS)
    driver.ensure_running(spec, fence=FIRST)
    for _ in range(2):  # the second time the extra as well
        _fill(host, spec.instance_id, "/data")
        os.sync()
        host.spaces.limit(spec.instance_id, "acme", LIMITS.disk_bytes)
    _fill(host, spec.instance_id, "/data")
    driver.ensure_stopped(spec.instance_id, fence=FIRST)
    assert driver.ensure_running(spec, fence=FIRST).healthy
    driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
    assert host.traces(spec) == []
    assert host.spaces.usage() == {}


def test_after_a_reboot_the_keeper_mounts_the_store_and_tenants_have_their_data(
    store_host: Host,
) -> None:
    host = store_host
    host.start_keeper()
    spec = host.spec(volume="acme", mode="writer")
    host.driver().ensure_running(spec, fence=FIRST)
    host.end_keeper()
    loop.release(host.state_dir)
    host.start_keeper()

    def runs() -> bool:
        return host.driver().status(spec.instance_id).state is ContainerState.RUNNING

    wait_until(runs, what="it runs again")
    assert (host.spaces.volume("acme") / "greeting").read_text() == "hello\n"


def test_a_tenant_from_before_the_store_runs_on_where_it_was(host: Host, store_host: Host) -> None:
    loop.release(host.state_dir)
    image = loop.image_path(host.state_dir)
    image.rename(host.state_dir / "aside")
    host.start_keeper()
    spec = host.spec(volume="old", mode="writer")
    host.driver().ensure_running(spec, fence=FIRST)
    (host.state_dir / "aside").rename(image)
    loop.remount(host.state_dir)
    fresh = host.spec(1, volume="new")
    for one in (spec, fresh):
        host.driver().ensure_stopped(one.instance_id, fence=FIRST)
        host.driver().ensure_running(one, fence=FIRST)
    assert host.spaces.volume("old") == host.state_dir / "volumes" / "old"
    assert (host.spaces.volume("old") / "greeting").exists()
    assert host.spaces.volume("new") == host.state_dir / "store" / "new" / "data"
    host.driver().ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
    assert not (host.state_dir / "volumes" / "old").exists()


def test_the_doctor_says_how_ceilings_are_enforced_and_what_to_do(
    store_host: Host, tmp_path: Path
) -> None:
    def finding(host: Host) -> doctor.Finding:
        return next(one for one in doctor.check(host.config) if one.name == "disk limits")

    found = finding(store_host)
    assert (found.state, found.found[:20]) == (doctor.CheckState.OK, "enforced by btrfs on")
    loop.release(store_host.state_dir)
    found = finding(store_host)
    assert found.state is doctor.CheckState.FAIL
    assert "store up" in found.remedy
    bare = Host(tmp_path / "bare")
    found = finding(bare)
    assert found.state is doctor.CheckState.WARN
    assert "STOA_STORE_BYTES" in found.remedy


def test_a_store_that_is_full_harms_neither_the_host_s_own_state_nor_data_that_are_there(
    store_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits are overbooked: together the tenants may be allowed more than there is."""
    monkeypatch.setattr(disks, "LOOK_SECONDS", 0.0)
    host = store_host
    host.start_keeper()
    driver = host.driver()
    early = host.spec(volume="early", mode="writer")
    driver.ensure_running(early, fence=FIRST)
    for number in range(20):
        host.spaces.ensure(
            f"ins_fill{number:06d}", f"fill-{number}", ceiling=50 * MIB, owner=(0, 0), is_new=True
        )
        if not _filled(host.spaces.volume(f"fill-{number}") / "all", 40 * MIB):
            break
    else:
        raise AssertionError("the store never got full")
    assert _of_store(host) == ["disk_full"]
    assert b"well" in fetch(str(host.config.address), early.published_port)
    read = driver.exec(early.instance_id, ("cat", "/data/greeting"))
    assert read.output == "hello\n"
    driver.ensure_stopped(
        early.instance_id, fence=Fence(1, 2)
    )  # records and fences are still written
    for number in range(20):
        host.spaces.remove(f"ins_fill{number:06d}", f"fill-{number}", with_volume=True)

    def has_room() -> bool:
        os.sync()
        return _of_store(host) == []

    wait_until(has_room, seconds=30, what="removed tenants' room is back", pause=0.1)
    assert driver.ensure_running(early, fence=Fence(1, 3)).healthy


def _of_store(host: Host) -> list[str]:
    """What the host says of its store; the machine's own disk is not what this is about."""
    told = conditions(host.state_dir, Watermarks())
    return [one["kind"] for one in told if "store" in one["message"]]


def _filled(path: Path, amount: int) -> bool:
    """Whether so much went in."""
    piece = os.urandom(MIB)
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(amount // MIB):
                file.write(piece)
            os.fsync(file.fileno())
    except OSError:
        return False
    return True
