"""The ways through our own doors: crun itself, working directories, links on paths the host walks."""

import hashlib
import os
from pathlib import Path
from threading import Thread

import pytest

from runtime.errors import RuntimeCoreError
from runtime.specs import VolumeFate
from tests.runtime.escapes.conftest import FIRST, KINDS, Prisoner, image_of
from tests.runtime.hosts import Host, write_test_image

pytestmark = pytest.mark.root

CRUN = Path("/usr/bin/crun")

# Watches for processes that enter the container and tries to write to their program, their memory,
# and to reach files through their descriptors, root and working directory.
_AMBUSH = """
import os, sys, time
began = time.monotonic()
seen = set()
# Longer than 3 s only where a busy machine has let nothing enter meanwhile.
while (age := time.monotonic() - began) < 3 or age < 60 and not any("busybox" in one for one in seen):
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) in (1, os.getpid()):
            continue
        place = f"/proc/{pid}"
        try:
            seen.add("program " + os.readlink(place + "/exe"))
        except OSError:
            pass
        for name in ("exe", "mem"):
            try:
                fd = os.open(f"{place}/{name}", os.O_RDWR)
                os.close(fd)
                seen.add(f"writable {name} of " + os.readlink(place + "/exe"))
            except OSError:
                pass
        for way in ("cwd", "root"):
            try:
                if os.path.exists(f"{place}/{way}/etc/shadow"):
                    seen.add("out by " + way)
            except OSError:
                pass
        try:
            for fd in os.listdir(place + "/fd"):
                if os.path.exists(f"{place}/fd/{fd}/etc/shadow"):
                    seen.add("out by descriptor")
        except OSError:
            pass
print("\\n".join(sorted(seen)))
"""


def test_a_command_that_enters_cannot_be_ambushed(prisoner: Prisoner) -> None:
    """CVE-2019-5736 and its like: crun inside the container is written to or borrowed from."""
    before = hashlib.sha256(CRUN.read_bytes()).hexdigest()
    said: list[str] = []
    ambush = Thread(target=lambda: said.append(prisoner.python(_AMBUSH)))
    ambush.start()
    while ambush.is_alive():
        assert prisoner.run("/bin/busybox", "true").exit_code == 0
    ambush.join()
    seen = said[0].splitlines()
    assert any("busybox" in line for line in seen)  # it did see what entered
    assert not [line for line in seen if line.startswith("out by")]
    writable = [line for line in seen if line.startswith("writable")]
    assert not [line for line in writable if "crun" in line or "memfd" in line], writable
    assert hashlib.sha256(CRUN.read_bytes()).hexdigest() == before


def test_running_proc_self_exe_runs_nothing_of_the_host(prisoner: Prisoner) -> None:
    """The argv of the same attack: the container asks crun to execute crun."""
    before = hashlib.sha256(CRUN.read_bytes()).hexdigest()
    try:
        done = prisoner.run("/proc/self/exe", "--version")
        assert CRUN.exists()
        assert done.exit_code != 0 or "crun version" in done.output
    except RuntimeCoreError:
        pass
    assert hashlib.sha256(CRUN.read_bytes()).hexdigest() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["/proc/self/fd/{}", "/proc/self/fd/{}/../../../..", "/proc/1/cwd"])
def test_no_working_directory_leads_out(
    prison_host: Host, tmp_path: Path, kind: str, way: str
) -> None:
    """CVE-2024-21626: an image whose working directory is a descriptor the engine left open."""
    user = "0" if kind == "root" else "1000:1000"
    driver = prison_host.driver()
    for fd in range(3, 11) if "{}" in way else (0,):
        place = tmp_path / f"layout{fd}"
        path = way.format(fd)
        write_test_image(place, user=user, mark=f"cwd{fd}", working_dir=path)
        digest = prison_host.images.import_layout(place, f"cwd{fd}")
        spec = prison_host.spec(7, image_digest=digest, health_path="")
        try:
            driver.ensure_running(spec, fence=FIRST)
        except RuntimeCoreError:
            continue
        else:
            prisoner = Prisoner(prison_host, spec, kind)
            pid = prisoner.pid
            inside = os.stat(f"/proc/{pid}/root/.").st_dev  # noqa: PTH116
            assert os.stat(f"/proc/{pid}/cwd/.").st_dev == inside  # noqa: PTH116
        finally:
            driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
            prison_host.images.remove(digest)


@pytest.mark.parametrize("kind", KINDS)
def test_links_to_the_host_in_volume_and_layer_mislead_no_work_of_the_host(
    prison_host: Host, tmp_path: Path, kind: str
) -> None:
    """Measuring, restarting and removing while everything the tenant owns leads to a victim."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_bytes(b"x" * 50_000_000)
    spec = prison_host.spec(6, image_digest=image_of(prison_host, kind), volume="links")
    driver = prison_host.driver()
    driver.ensure_running(spec, fence=FIRST)
    prisoner = Prisoner(prison_host, spec, kind)
    prisoner.python(_LINKS, str(victim), "/data", *(["/etc"] if kind == "root" else []))
    sample = next(one for one in driver.samples() if one.instance_id == spec.instance_id)
    driver.ensure_stopped(spec.instance_id, fence=FIRST)
    driver.ensure_running(spec, fence=FIRST)
    listed = prisoner.run("/bin/ls", "/data/deep")
    # Before any assertion: pytest itself cannot remove directories as deep as these.
    driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
    assert listed.exit_code == 0
    assert sample.disk_bytes < 25_000_000  # the nested directories are large enough
    assert prison_host.traces(spec) == []
    assert not prison_host.spaces.volume("links").exists()
    assert (victim / "precious").stat().st_size == 50_000_000


_LINKS = """
import os, sys
victim, *places = sys.argv[1:]
for place in places:
    os.symlink(victim, place + "/way-out")
    os.symlink("/", place + "/top")
    os.symlink("../../../../../../../../../..", place + "/up")
    fd = os.open(place, os.O_RDONLY)
    for name in ["deep"] * 1500:  # deeper than Python recurses, longer than a path may be
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.symlink(victim, "way-out", dir_fd=fd)
"""
