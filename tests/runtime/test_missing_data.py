"""Whatever happened to a volume, no way to a start makes an empty one in its place."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.bundle import InstanceDirectory
from runtime.cli.parser import main as cli
from runtime.disk import Spaces, adopt, loop, marks
from runtime.errors import DataMissingError
from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.statuses import ContainerState
from runtime.volume_requests import VolumeSave
from tests.runtime.hosts import Host, fetch, lack_of_store, wait_until
from tests.runtime.shelves import shelf
from tests.runtime.test_reboot import reboot

pytestmark = pytest.mark.root

FIRST = Fence(1, 1)
Fault = Callable[[Host, InstanceSpec], Callable[[], object]]


def _moved(path: Path) -> Callable[[], object]:
    away = path.with_name(f"moved-{path.name}")
    path.rename(away)

    def back() -> None:
        shutil.rmtree(path, ignore_errors=True)
        away.rename(path)

    return back


def directory_gone(host: Host, spec: InstanceSpec) -> Callable[[], object]:
    return _moved(host.spaces.volume(spec.volume))


def directory_made_anew(host: Host, spec: InstanceSpec) -> Callable[[], object]:
    path = host.spaces.volume(spec.volume)
    back = _moved(path)
    path.mkdir(mode=0o777)
    return back


def space_gone(host: Host, spec: InstanceSpec) -> Callable[[], object]:
    return _moved(host.spaces.volume(spec.volume).parent)


def mark_gone(host: Host, spec: InstanceSpec) -> Callable[[], object]:
    path = host.spaces.volume(spec.volume)
    os.removexattr(path, "trusted.stoa.volume")
    return lambda: cli(["know-volume", spec.volume], host.environ, doctor=lambda *_: 0)


def content_gone(host: Host, spec: InstanceSpec) -> Callable[[], object]:
    """Emptied by somebody while nobody ran."""
    path = host.spaces.volume(spec.volume)
    away = path.parent / "kept-by-a-test"
    away.mkdir()
    for one in list(path.iterdir()):
        one.rename(away / one.name)
    return lambda: [one.rename(path / one.name) for one in list(away.iterdir())]


def other_volume(host: Host, spec: InstanceSpec) -> Callable[[], object]:
    other = host.spec(7, volume="other", mode="writer")
    path = host.spaces.volume(spec.volume)
    driver = host.driver()
    driver.ensure_running(other, fence=FIRST)
    driver.ensure_stopped(other.instance_id, fence=FIRST)
    back = _moved(path)
    shutil.copytree(host.spaces.volume("other"), path)
    os.setxattr(path, "trusted.stoa.volume", b"other")
    return back


def not_mounted(host: Host, spec: InstanceSpec) -> Callable[[], object]:
    loop.release(host.state_dir)
    image = loop.image_path(host.state_dir)
    image.rename(image.with_name("away.img"))

    def back() -> None:
        image.with_name("away.img").rename(image)
        shutil.rmtree(loop.mount_point(host.state_dir), ignore_errors=True)
        loop.remount(host.state_dir)

    return back


CASES: list[tuple[str, Fault]] = [
    ("plain", directory_gone),
    ("plain", directory_made_anew),
    ("plain", mark_gone),
    ("plain", content_gone),
    ("plain", other_volume),
    ("store", directory_gone),
    ("store", space_gone),
    ("store", not_mounted),
]


@pytest.mark.parametrize(
    ("where", "fault"), CASES, ids=[f"{where}-{fault.__name__}" for where, fault in CASES]
)
def test_no_way_to_a_start_makes_a_volume_in_the_place_of_one_that_is_missing(  # noqa: PLR0915 - one story
    host: Host, where: str, fault: Fault
) -> None:
    if where == "store":
        if lack := lack_of_store():
            pytest.skip(lack)
        host.make_store()
    host.start_keeper()
    driver = host.driver()
    spec = host.spec(volume="acme", mode="writer")
    driver.ensure_running(spec, fence=FIRST)
    known = replace(spec, new_volume=False)
    # Everything ends at once: the keeper could note nothing.
    host.end_keeper(signal.SIGKILL)
    host.cgroups.kill(spec.instance_id)
    if fault is other_volume:
        host.start_keeper()
        driver.ensure_stopped(spec.instance_id, fence=FIRST)
        back = fault(host, spec)
        host.end_keeper(signal.SIGKILL)
        _want_running(host, spec)
    else:
        back = fault(host, spec)
    before = _listing(host)

    reboot(host, [spec], memory="")  # the keeper's own start, from its own record
    wait_until(lambda: "volume acme" in _said(host), what="the keeper says what is missing")
    driver = host.driver()
    for tried in (known, replace(known, env=(("MODE", "well"),)), host.spec(3, volume="acme")):
        with pytest.raises(DataMissingError, match="volume acme"):
            driver.ensure_running(replace(tried, new_volume=False), fence=Fence(1, 2))
    with pytest.raises(DataMissingError):
        driver.save_volume(VolumeSave("acme", "snp_00000001", "", "/nowhere"))
    assert driver.volumes_here(("acme",)) == ()
    assert driver.status(spec.instance_id).state is not ContainerState.RUNNING
    assert not driver.status(spec.instance_id).crash_looping
    assert host.containers(spec) == 0
    assert _listing(host) == before
    assert host.traces(host.spec(3)) == []

    back()
    assert driver.volumes_here(("acme",)) == ("acme",)
    assert driver.ensure_running(known, fence=Fence(1, 3)).healthy
    assert driver.exec(spec.instance_id, ("cat", "/data/greeting")).output == "hello\n"


def test_a_container_that_ends_after_its_volume_went_is_not_started_and_comes_back_with_it(
    host: Host,
) -> None:
    host.start_keeper()
    driver = host.driver()
    spec = host.spec(volume="acme", mode="writer")
    driver.ensure_running(spec, fence=FIRST)
    back = directory_gone(host, spec)
    host.cgroups.kill(spec.instance_id)
    wait_until(lambda: "acme is not there" in _said(host), what="the keeper says so")
    assert driver.status(spec.instance_id).state is ContainerState.EXITED
    assert not host.spaces.volume("acme").exists()
    back()
    assert driver.ensure_running(replace(spec, new_volume=False), fence=FIRST).healthy


def test_a_volume_that_its_own_tenant_emptied_is_started_as_it_is(host: Host) -> None:
    host.start_keeper()
    driver = host.driver()
    spec = host.spec(volume="acme", mode="writer")
    driver.ensure_running(spec, fence=FIRST)
    known = replace(spec, new_volume=False, env=(("MODE", "well"),))
    assert driver.ensure_running(known, fence=FIRST).healthy
    driver.exec(spec.instance_id, ("busybox", "rm", "/data/greeting"))
    host.cgroups.kill(spec.instance_id)
    wait_until(lambda: driver.status(spec.instance_id).restarts, what="the keeper starts it again")
    wait_until(lambda: driver.status(spec.instance_id).pid, what="it runs")
    assert list(host.spaces.volume("acme").iterdir()) == []


def test_a_program_that_keeps_nothing_is_started_after_a_crash(host: Host) -> None:
    host.start_keeper()
    spec = host.spec(volume="acme")
    host.driver().ensure_running(spec, fence=FIRST)
    reboot(host, [spec], memory="")
    address = str(host.config.address)
    wait_until(lambda: b"200" in fetch(address, spec.published_port), what="it answers")


def test_to_begin_anew_sets_aside_what_is_not_the_volume(host: Host) -> None:
    host.start_keeper()
    driver = host.driver()
    spec = host.spec(volume="acme", mode="writer")
    driver.ensure_running(spec, fence=FIRST)
    driver.ensure_stopped(spec.instance_id, fence=FIRST)
    path = host.spaces.volume("acme")
    (path / "precious").write_bytes(b"1")
    os.removexattr(path, "trusted.stoa.volume")
    assert driver.ensure_running(spec, fence=FIRST).healthy
    (aside,) = path.parent.glob(".acme.aside-*")
    assert (aside / "precious").exists()
    driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
    assert list(path.parent.iterdir()) == []


def test_volumes_from_before_there_were_marks_are_known(host: Host) -> None:
    host.start_keeper()
    driver = host.driver()
    spec = host.spec(volume="acme", mode="writer")
    driver.ensure_running(spec, fence=FIRST)
    driver.ensure_stopped(spec.instance_id, fence=FIRST)
    os.removexattr(host.spaces.volume("acme"), "trusted.stoa.volume")
    (host.state_dir / "volumes-marked").unlink()
    assert driver.ensure_running(replace(spec, new_volume=False), fence=FIRST).healthy
    assert driver.exec(spec.instance_id, ("cat", "/data/greeting")).output == "hello\n"


def _away(host: Host, spec: InstanceSpec) -> None:
    directory_gone(host, spec)


def _half_a_copy(host: Host, spec: InstanceSpec) -> None:
    directory_made_anew(host, spec)
    (host.spaces.volume(spec.volume) / "half").write_bytes(b"1")


def _another_s(host: Host, spec: InstanceSpec) -> None:
    other_volume(host, spec)


def _emptied(host: Host, spec: InstanceSpec) -> None:
    content_gone(host, spec)


def _bare(host: Host, spec: InstanceSpec) -> None:
    path = host.spaces.volume(spec.volume)
    shutil.rmtree(path)
    path.mkdir()


LOST_NOTES = [
    *((fault, "removed") for fault in (_away, _half_a_copy, _another_s, _emptied, _bare)),
    *((_bare, note) for note in ("a dangling link", "a directory", "garbage")),
]


@pytest.mark.parametrize(
    ("fault", "note"), LOST_NOTES, ids=[f"{fault.__name__}-{note}" for fault, note in LOST_NOTES]
)
def test_a_lost_note_of_the_marks_makes_nothing_else_the_volume(
    host: Host, fault: Callable[[Host, InstanceSpec], None], note: str
) -> None:
    host.start_keeper()
    driver = host.driver()
    spec = host.spec(volume="acme", mode="writer")
    driver.ensure_running(spec, fence=FIRST)
    driver.ensure_stopped(spec.instance_id, fence=FIRST)
    fault(host, spec)
    (host.state_dir / "volumes" / "Not a volume").mkdir()
    done = host.state_dir / "volumes-marked"
    done.unlink()
    if note == "a dangling link":
        done.symlink_to("nowhere/at/all")
    elif note == "a directory":
        done.mkdir()
    elif note == "garbage":
        done.write_bytes(b"\xff")
    before = _attributes(host)
    with pytest.raises(DataMissingError, match="volume acme"):
        driver.ensure_running(replace(spec, new_volume=False), fence=FIRST)
    assert driver.volumes_here(("acme",)) == ()
    assert _attributes(host) == before


def _attributes(host: Host) -> dict[str, list[tuple[str, bytes]]]:
    """What is noted on each directory among the volumes."""
    return {
        one.name: [(name, os.getxattr(one, name)) for name in sorted(os.listxattr(one))]
        for one in (host.state_dir / "volumes").iterdir()
    }


def test_a_load_as_the_first_thing_leaves_the_older_volumes_known(tmp_path: Path) -> None:
    spaces = Spaces(tmp_path)
    spaces.ensure("ins_test000001", "older", ceiling=2**24, owner=(0, 0), is_new=True)
    (spaces.volume("older") / "order").write_bytes(b"1")
    os.removexattr(spaces.volume("older"), "trusted.stoa.volume")
    (tmp_path / "volumes-marked").unlink()
    with spaces.room_for_loading("ins_test000002", "loaded") as beside:
        beside.mkdir()
        marks.write(beside, "loaded")
        beside.rename(spaces.volume("loaded"))
    assert spaces.holds("loaded")
    assert spaces.holds("older")


def test_a_volume_emptied_by_its_own_running_shop_is_copied_as_it_is(host: Host) -> None:
    host.start_keeper()
    driver = host.driver()
    spec = host.spec(volume="acme", mode="writer")
    driver.ensure_running(spec, fence=FIRST)
    driver.exec(spec.instance_id, ("busybox", "rm", "/data/greeting"))
    with shelf() as there:
        saved = driver.save_volume(
            VolumeSave("acme", "snp_00000001", "", there.address("snp_00000001"))
        )
    assert (saved.files, saved.unchanged) == (0, False)
    assert driver.volumes_here(("acme",)) == ("acme",)


def test_what_is_no_volume_never_replaces_one_in_the_store(tmp_path: Path) -> None:
    if lack := lack_of_store():
        pytest.skip(lack)
    tmp_path.chmod(0o700)
    loop.ensure(tmp_path, 256 * 2**20)
    try:
        spaces = Spaces(tmp_path)
        spaces.ensure("ins_test000001", "acme", ceiling=2**24, owner=(0, 0), is_new=True)
        (spaces.volume("acme") / "order").write_bytes(b"1")
        (tmp_path / "volumes" / "acme").mkdir(parents=True)
        with pytest.raises(DataMissingError):
            adopt.adopt(tmp_path, "acme")
        (tmp_path / "volumes" / "acme").rmdir()
        assert (spaces.find("acme") / "order").exists()
        copied = tmp_path / "store" / "acme" / "by-hand"
        shutil.copytree(spaces.volume("acme"), copied)
        with pytest.raises(DataMissingError, match="is volume acme"):
            marks.check(copied, "acme2")
    finally:
        loop.release(tmp_path)


def _said(host: Host) -> str:
    return (host.state_dir / "keeper.log").read_text(errors="replace")


def _want_running(host: Host, spec: InstanceSpec) -> None:
    """The record says again that it should run, as before it was stopped."""
    directory = InstanceDirectory.of(host.state_dir, spec.instance_id)
    record = directory.read()
    assert record is not None
    directory.write(replace(record, desired=type(record.desired)("running")))


def _listing(host: Host) -> list[str]:
    """All that lies where volumes and layers lie; what containers and their logs are made of aside."""
    found = []
    for top in ("volumes", "store"):
        for path in (host.state_dir / top).rglob("*"):
            if ".snapshots" not in path.parts:
                found.append(str(path.relative_to(host.state_dir)))
    return sorted(found)
