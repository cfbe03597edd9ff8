"""Directories that an image wants kept (VOLUME): in the tenant's volume, begun with what the image has."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.cli.parser import main as cli
from runtime.disk import Spaces
from runtime.errors import DataMissingError, HostError
from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.statuses import ContainerState
from runtime.units import MIB, Limits
from runtime.volume_requests import VolumeSave
from tests.runtime.hosts import Host, wait_until, write_test_image
from tests.runtime.image.layouts import Entry, directory, layer, symlink
from tests.runtime.shelves import shelf
from tests.runtime.test_reboot import reboot

pytestmark = pytest.mark.root
FIRST, SECOND, THIRD = Fence(1, 1), Fence(1, 2), Fence(1, 3)
DECLARED = (
    "/var/lib/app/",
    "/var/run/queue",
    "/srv/none",
    "/data/own",
    "/tmp",
    "/var/lib/app/deeper",
)


def keep(host: Host, tmp_path: Path, *, user: str = "1000:1000") -> None:
    """Give the host an image that declares VOLUMEs: with content, behind a link, and without a directory."""
    content = layer(
        directory("data"),
        Entry("data/welcome", b"from the image\n"),
        directory("run"),
        directory("var"),
        directory("var/lib"),
        replace(directory("var/lib/app"), uid=1000, gid=1000),
        Entry("var/lib/app/seed", b"seed\n", mode=0o640, uid=1000, gid=1000),
        symlink("var/lib/app/hosts", "/etc/hostname"),
        symlink("var/run", "/run"),
        directory("run/queue"),
    )
    write_test_image(tmp_path / "keeps", user=user, mark="keeps", above=[content], volumes=DECLARED)
    host.digest = host.images.import_layout(tmp_path / "keeps", "keeps")


def started(
    host: Host, tmp_path: Path, *, user: str = "1000:1000", **changes: object
) -> InstanceSpec:
    """A host whose keeper runs, and on it a container of that image, with a volume unless changes say so."""
    keep(host, tmp_path, user=user)
    host.start_keeper()
    spec = host.spec(0, **{"volume": "acme", **changes})
    host.driver().ensure_running(spec, fence=FIRST)
    return spec


def inside(host: Host, instance_id: str, command: str) -> str:
    return host.driver().exec(instance_id, ("sh", "-c", command)).output


def test_what_is_written_to_a_declared_directory_outlives_its_container(
    host: Host, tmp_path: Path
) -> None:
    spec, driver = started(host, tmp_path), host.driver()
    assert inside(host, spec.instance_id, "cat /data/welcome /var/lib/app/seed") == (
        "from the image\nseed\n"
    )
    assert (
        inside(host, spec.instance_id, "stat -c '%u:%g %a' /var/lib/app/seed") == "1000:1000 640\n"
    )
    for place in ("/var/lib/app", "/var/run/queue", "/srv/none", "/data"):
        written = inside(host, spec.instance_id, f"echo {place} > {place}/mine && cat {place}/mine")
        assert written == f"{place}\n", "its own user may write there"
    driver.ensure_absent(spec.instance_id, fence=SECOND, volume=VolumeFate.KEEP)
    again = host.spec(volume="acme", new_volume=False)
    driver.ensure_running(again, fence=THIRD)
    found = inside(host, spec.instance_id, "cat /var/lib/app/mine /run/queue/mine /srv/none/mine")
    assert found == "/var/lib/app\n/var/run/queue\n/srv/none\n"
    lies = sorted(one.name for one in (host.spaces.volume("acme") / ".volumes").iterdir())
    assert lies == ["run%2Fqueue", "srv%2Fnone", "var%2Flib%2Fapp"]


def test_a_read_only_image_has_its_declared_directories(host: Host, tmp_path: Path) -> None:
    spec = started(host, tmp_path, writable_root=False)
    said = inside(
        host, spec.instance_id, "echo x > /srv/none/x && echo kept; echo x > /srv/x; true"
    )
    assert said.startswith("kept\n")
    assert "Read-only" in said


def test_without_a_volume_nothing_is_kept_and_it_runs(host: Host, tmp_path: Path) -> None:
    spec = started(host, tmp_path, volume="")
    assert inside(host, spec.instance_id, "cat /var/lib/app/seed") == "seed\n"


@pytest.mark.parametrize("what", ["link", "file", "folder is a link"])
def test_what_a_tenant_puts_in_the_place_leads_nowhere(
    host: Host, tmp_path: Path, what: str
) -> None:
    spec, driver = started(host, tmp_path), host.driver()
    driver.ensure_stopped(spec.instance_id, fence=SECOND)
    secret = tmp_path / "of-the-host"
    secret.mkdir(mode=0o777)
    (secret / "seed").write_text("the host's\n")
    folder = host.spaces.volume("acme") / ".volumes"
    place = folder / "var%2Flib%2Fapp"
    if what == "folder is a link":
        folder.rename(folder.with_name("mine"))
        (secret / place.name).mkdir()
        folder.symlink_to(secret)
    else:
        place.rename(folder / "mine")
        place.symlink_to(secret) if what == "link" else place.write_text("a file\n")
    driver.ensure_running(host.spec(volume="acme", new_volume=False), fence=THIRD)
    assert inside(host, spec.instance_id, "cat /var/lib/app/seed") == "seed\n"
    assert [one.name for one in secret.iterdir() if "seed" not in one.name] in ([], [place.name])


@pytest.mark.parametrize("what", ["one place", "all of them"])
def test_a_place_that_is_gone_is_not_begun_anew_by_any_start(
    host: Host, tmp_path: Path, what: str
) -> None:
    spec, driver = started(host, tmp_path), host.driver()
    inside(host, spec.instance_id, "echo 1 > /var/lib/app/order; echo 1 > /data/order")
    host.end_keeper(signal.SIGKILL)  # everything ends at once: the keeper could note nothing
    host.cgroups.kill(spec.instance_id)
    folder = host.spaces.volume("acme") / ".volumes"
    lost = folder if what == "all of them" else folder / "var%2Flib%2Fapp"
    away = tmp_path / "away"
    shutil.move(lost, away)

    reboot(host, [spec], memory="")  # the keeper's own start, from its own record
    said = host.state_dir / "keeper.log"
    wait_until(lambda: "is gone and was there" in said.read_text(), what="the keeper says so")
    driver, known = host.driver(), replace(spec, new_volume=False)
    with pytest.raises(DataMissingError, match="is gone and was there"):
        driver.ensure_running(known, fence=SECOND)
    with pytest.raises(DataMissingError):  # nor does a copy without it become the newest
        driver.save_volume(VolumeSave("acme", "snp_00000001", "", "/nowhere"))
    assert driver.volumes_here(("acme",)) == ()
    assert driver.status(spec.instance_id).state is not ContainerState.RUNNING
    assert not lost.exists()

    shutil.move(away, lost)
    assert driver.volumes_here(("acme",)) == ("acme",)
    driver.ensure_running(known, fence=SECOND)
    assert inside(host, spec.instance_id, "cat /var/lib/app/order /data/order") == "1\n1\n"


def test_a_place_that_is_gone_begins_anew_once_somebody_has_looked(
    host: Host, tmp_path: Path
) -> None:
    spec, driver = started(host, tmp_path), host.driver()
    driver.ensure_stopped(spec.instance_id, fence=SECOND)
    shutil.rmtree(host.spaces.volume("acme") / ".volumes" / "var%2Flib%2Fapp")
    known = replace(spec, new_volume=False)
    with pytest.raises(DataMissingError):
        driver.ensure_running(known, fence=THIRD)
    assert cli(["know-volume", "acme"], host.environ, doctor=lambda *_: 0) == 0
    driver.ensure_running(known, fence=THIRD)
    assert inside(host, spec.instance_id, "cat /var/lib/app/seed") == "seed\n"


def test_a_place_that_its_own_tenant_removed_begins_anew_and_is_copied_meanwhile(
    host: Host, tmp_path: Path
) -> None:
    spec, driver = started(host, tmp_path, user="0:0"), host.driver()
    inside(host, spec.instance_id, "rm -r '/data/.volumes/var%2Flib%2Fapp'")
    place = host.spaces.volume("acme") / ".volumes" / "var%2Flib%2Fapp"
    assert not place.exists()
    with shelf() as there:
        driver.save_volume(VolumeSave("acme", "snp_00000001", "", there.address("snp_00000001")))
    driver.ensure_stopped(spec.instance_id, fence=SECOND)
    driver.ensure_running(replace(spec, new_volume=False), fence=THIRD)
    assert inside(host, spec.instance_id, "cat /var/lib/app/seed") == "seed\n"
    driver.ensure_stopped(spec.instance_id, fence=THIRD)
    place.rename(place.with_name("elsewhere"))
    with pytest.raises(DataMissingError):
        Spaces(host.state_dir).find("acme")


def test_of_very_long_names_as_many_are_noted_as_there_is_room_for(
    host: Host, tmp_path: Path
) -> None:
    spaces = host.spaces
    spaces.ensure("ins_test000001", "acme", ceiling=2**24, owner=(0, 0), is_new=True)
    paths = [f"/{letter * 240}" for letter in "abcdefghijklmnop"]
    for path in paths:
        (spaces.volume("acme") / ".volumes" / path.strip("/")).mkdir(parents=True)
    spaces.note_places("acme", paths)
    (spaces.volume("acme") / ".volumes" / ("a" * 240)).rmdir()
    with pytest.raises(DataMissingError, match="is gone"):
        spaces.find("acme")
    spaces.note_places("acme", ())
    assert spaces.holds("acme")


def test_content_that_does_not_fit_is_said_and_the_next_start_begins_anew(
    store_host: Host, tmp_path: Path
) -> None:
    host = store_host
    big = layer(directory("srv"), directory("srv/none"), Entry("srv/none/big", os.urandom(8 * MIB)))
    write_test_image(tmp_path / "big", mark="big", above=[big], volumes=("/srv/none",))
    host.digest = host.images.import_layout(tmp_path / "big", "big")
    host.start_keeper()
    driver = host.driver()
    small = host.spec(volume="acme", ceilings=Limits(1000, 64 * MIB, 64, 4 * MIB))
    with pytest.raises(HostError, match="the image has in /srv/none cannot be copied"):
        driver.ensure_running(small, fence=FIRST)
    assert not (host.spaces.volume("acme") / ".volumes" / "srv%2Fnone").exists()
    larger = host.spec(volume="acme", new_volume=False)
    driver.ensure_running(larger, fence=SECOND)
    assert inside(host, larger.instance_id, "stat -c %s /srv/none/big") == f"{8 * MIB}\n"
