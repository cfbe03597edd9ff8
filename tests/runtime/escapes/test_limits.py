"""Taking more than one's share: the kernel stops the taker, and neighbour and host notice nothing."""

import ctypes
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import SpecInvalidError
from runtime.specs import InstanceSpec, VolumeFate
from runtime.units import MIB
from tests.runtime.escapes.conftest import FIRST, KINDS, Prisoner, image_of
from tests.runtime.hosts import Host, fetch, wait_until

pytestmark = pytest.mark.root


def well(prisoner: Prisoner) -> bool:
    spec = prisoner.spec
    return fetch(str(prisoner.host.config.address), spec.published_port).startswith(b"HTTP/1.1 200")


def test_a_fork_bomb_stops_at_its_ceiling(prisoner: Prisoner, neighbour: Prisoner) -> None:
    program = """
import errno, os, signal
children = []
try:
    while len(children) < 2000:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        children.append(pid)
except OSError as error:
    print(errno.errorcode[error.errno], len(children))
for pid in children:
    os.kill(pid, signal.SIGKILL)
"""
    ended, count = prisoner.python(program).split()
    assert ended == "EAGAIN"
    assert int(count) < prisoner.spec.ceilings.pids
    assert well(neighbour)
    wait_until(lambda: well(prisoner), what="the prisoner answers again")


def test_a_memory_hog_dies_alone(prisoner: Prisoner, neighbour: Prisoner) -> None:
    before = neighbour.pid
    done = prisoner.run("/usr/bin/python3", "-c", "x = bytearray(10**9); print(len(x))")
    assert done.exit_code == 137
    assert "1000000000" not in done.output
    assert well(neighbour)
    assert neighbour.pid == before


def test_memory_files_count_as_memory(prisoner: Prisoner) -> None:
    """Neither /tmp, /dev/shm nor memfd is a way round the limit."""
    program = """
import os
fd = os.memfd_create("hog")
for _ in range(200):
    os.write(fd, bytes(1 << 20))
print("all of it")
"""
    done = prisoner.run("/usr/bin/python3", "-c", program)
    assert "all of it" not in done.output
    assert done.exit_code != 0
    # What a memory file holds belongs to no process in particular: its program may have died first.
    wait_until(lambda: well(prisoner), seconds=20, what="the prisoner has been started again")
    fill = """
import errno, sys
try:
    with open(sys.argv[1], "wb") as file:
        for _ in range(40):
            file.write(bytes(1 << 20))
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    for place in ("/tmp/full", "/dev/shm/full"):
        assert prisoner.python(fill, place) == "ENOSPC"
        prisoner.run("/bin/busybox", "rm", place)


def test_a_file_ends_at_the_disk_ceiling(prisoner: Prisoner) -> None:
    limit = prisoner.spec.ceilings.disk_bytes
    program = """
import errno, os, sys
fd = os.open("/data/large", os.O_WRONLY | os.O_CREAT)
limit = int(sys.argv[1])
os.truncate("/data/large", limit)
try:
    os.pwrite(fd, b"xx", limit)
except OSError as error:
    print(errno.errorcode[error.errno])
os.unlink("/data/large")
"""
    assert prisoner.python(program, str(limit)) == "EFBIG"


def test_open_files_end_at_their_ceiling(prisoner: Prisoner) -> None:
    program = """
import errno, os
count = 0
try:
    while count < 5000:
        os.open("/dev/null", os.O_RDONLY)
        count += 1
except OSError as error:
    print(errno.errorcode[error.errno], count)
"""
    assert prisoner.python(program) == "EMFILE 1021"


def test_terminals_of_the_machine_cannot_be_used_up(prisoner: Prisoner) -> None:
    program = """
import os
count = 0
held = []
try:
    while count < 300:
        held.append(os.openpty())
        count += 1
except OSError:
    print(count)
"""
    assert int(prisoner.python(program)) <= 16
    master, slave = os.openpty()
    os.close(master)
    os.close(slave)


_HOLD_INOTIFY = """
import ctypes, time
libc = ctypes.CDLL(None)
count = 0
while count < 1000 and libc.inotify_init1(0) >= 0:
    count += 1
print(count, flush=True)
"""


def test_inotify_of_host_and_neighbour_cannot_be_used_up(
    prisoner: Prisoner, neighbour: Prisoner
) -> None:
    """The kernel charges whoever made the user namespace; with root there, one tenant starved all."""
    program = _HOLD_INOTIFY + "time.sleep(3)"
    pid = os.fork()
    if pid == 0:
        try:
            prisoner.run("/usr/bin/python3", "-c", program)
        finally:
            os._exit(0)
    try:
        instances = Path("/proc/sys/fs/inotify/max_user_instances").read_text()
        wait_until(
            lambda: _inotify_of(prisoner) >= min(1000, int(instances)) - 2,
            what="the prisoner holds all it gets",
        )
        libc = ctypes.CDLL(None, use_errno=True)
        fd = libc.inotify_init1(0)
        assert fd >= 0, os.strerror(ctypes.get_errno())
        os.close(fd)
        said = neighbour.run("/bin/busybox", "timeout", "1", "inotifyd", "-", "/")
        assert "Too many" not in said.output
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        wait_until(lambda: _inotify_of(prisoner) == 0, what="the program has ended")


def _inotify_of(prisoner: Prisoner) -> int:
    """How many inotify instances the processes of an instance hold."""
    count = 0
    for pid in prisoner.host.cgroups.pids(prisoner.spec.instance_id):
        try:
            links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115
        except OSError:
            continue
        count += links.count("anon_inode:inotify")
    return count


@pytest.fixture
def crash_handler(tmp_path: Path) -> Iterator[Path]:
    """A program as the machine's crash handler for a moment; yields the file it leaves a line in."""
    pattern = Path("/proc/sys/kernel/core_pattern")
    before = pattern.read_text()
    ran = Path(f"/tmp/stoa-crash-{os.getpid()}")
    handler = Path(f"/tmp/stoa-handler-{os.getpid()}")
    handler.write_text(f"#!/bin/sh\necho $1 >>{ran}\n")
    handler.chmod(0o755)
    ran.touch()
    try:
        pattern.write_text(f"|{handler} %P")
    except OSError as error:
        pytest.skip(f"core_pattern of this machine cannot be set: {error}")
    try:
        yield ran
    finally:
        pattern.write_text(before)
        handler.unlink()
        ran.unlink()


def test_a_crash_inside_does_not_run_the_host_s_crash_handler(
    prisoner: Prisoner, crash_handler: Path
) -> None:
    program = "import os, resource, signal\nos.kill(os.getpid(), signal.SIGSEGV)"
    assert prisoner.run("/usr/bin/python3", "-c", program).exit_code == 139
    lower = (
        "import os, resource, signal\ntry: resource.setrlimit(4, (0, 0))\nexcept OSError: pass\n"
    )
    assert prisoner.run("/usr/bin/python3", "-c", lower + program).exit_code == 139
    here = os.fork()
    if here == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
        os._exit(0)
    os.waitpid(here, 0)
    wait_until(lambda: str(here) in crash_handler.read_text(), what="the handler ran for our own")
    assert crash_handler.read_text().split() == [str(here)]


def test_an_environment_too_large_to_start_with_is_refused_before_anything_is_touched(
    prison_host: Host,
) -> None:
    spec: InstanceSpec = prison_host.spec(8, env=(("BIG", "x" * (1 * MIB)),))
    with pytest.raises(SpecInvalidError, match="env is 1048581 bytes; it must be at most 65536"):
        prison_host.driver().ensure_running(spec, fence=FIRST)
    assert prison_host.traces(spec) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_root_that_is_turned_off_takes_no_writing_and_the_volume_does(
    prison_host: Host, kind: str
) -> None:
    spec = prison_host.spec(
        9, image_digest=image_of(prison_host, kind), volume="closed", writable_root=False
    )
    driver = prison_host.driver()
    driver.ensure_running(spec, fence=FIRST)
    try:
        prisoner = Prisoner(prison_host, spec, kind)
        program = """
import errno, os
for place in ("/new", "/etc/new", "/data/new", "/tmp/new", "/dev/shm/new"):
    try:
        open(place, "w").close()
        print("written")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
        said = prisoner.python(program).split()
        assert set(said[:2]) <= {"EROFS"}
        assert said[2:] == ["written"] * 3
        assert well(prisoner)
    finally:
        driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
