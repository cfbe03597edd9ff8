"""What a container sees: itself, and nothing of the host or of its neighbours."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.runtime.escapes.conftest import Prisoner

pytestmark = pytest.mark.root


def test_the_only_devices_are_harmless_and_none_is_a_disk(prisoner: Prisoner) -> None:
    found = json.loads(
        prisoner.python(
            """
import json, os, stat
found = {}
for place, below, names in os.walk("/dev"):
    for name in names:
        said = os.lstat(f"{place}/{name}")
        if stat.S_ISBLK(said.st_mode) or stat.S_ISCHR(said.st_mode):
            found[f"{place}/{name}"] = [os.major(said.st_rdev), os.minor(said.st_rdev)]
print(json.dumps(found))
"""
        )
    )
    assert found.pop("/dev/pts/ptmx") == [5, 2]
    assert found == {
        "/dev/full": [1, 7],
        "/dev/null": [1, 3],
        "/dev/random": [1, 8],
        "/dev/tty": [5, 0],
        "/dev/urandom": [1, 9],
        "/dev/zero": [1, 5],
    }


def test_no_process_of_the_host_or_of_a_neighbour_can_be_seen_or_signalled(
    prisoner: Prisoner, neighbour: Prisoner
) -> None:
    program = """
import os, sys
seen = [open(f"/proc/{pid}/cmdline").read() for pid in os.listdir("/proc") if pid.isdigit()]
print(len(seen))
for pid in sys.argv[1:]:
    try:
        os.kill(int(pid), 0)
        print("reached")
    except ProcessLookupError:
        print("nobody")
"""
    strangers = [str(neighbour.pid), str(os.getpid())]
    said = prisoner.python(program, *strangers).splitlines()
    assert said == ["2", "nobody", "nobody"]
    for pid in strangers:
        os.kill(int(pid), 0)  # they are there


def test_no_file_of_the_host_or_of_a_neighbour_can_be_found(
    prisoner: Prisoner, neighbour: Prisoner
) -> None:
    secret = prisoner.host.spaces.volume("neighbour") / "greeting"
    assert secret.read_text() == "hello\n"
    program = """
import os, sys
def there(path):
    try:
        os.stat(path)
        return path
    except OSError:
        return ""
up = "/".join([".."] * 40)
print([p for p in sys.argv[1:] if there(p) or there(up + p) or there("/proc/1/root" + p)])
print([p for p in ("/data/greeting", "/work", "/home", "/usr/bin/crun", "/boot") if there(p)])
print(os.listdir("/sys/fs/cgroup"), "neighbour" in open("/proc/self/mountinfo").read())
"""
    paths = (str(secret), str(prisoner.host.state_dir), "/etc/shadow", __file__)
    assert all(Path(path).exists() for path in paths)
    # Earlier attempts as root may have left a /usr/bin/crun of its own.
    said = prisoner.python(program, *paths).replace("'/usr/bin/crun'", "").splitlines()
    assert said == ["[]", "[]", "[] False"]


def test_the_environment_of_a_neighbour_stays_his(prisoner: Prisoner, neighbour: Prisoner) -> None:
    assert "hunter2" in Path(f"/proc/{neighbour.pid}/environ").read_text()
    program = """
import os
for pid in os.listdir("/proc"):
    if pid.isdigit():
        try:
            print(open(f"/proc/{pid}/environ").read())
        except OSError:
            pass
"""
    said = prisoner.python(program)
    assert "PORT=" in said
    assert "hunter2" not in said


def test_every_namespace_is_its_own_but_for_time(prisoner: Prisoner, neighbour: Prisoner) -> None:
    def namespaces(pid: int) -> dict[str, str]:
        kinds = ("user", "net", "pid", "ipc", "uts", "mnt", "cgroup", "time")
        return {kind: str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in kinds}

    inside, ours, theirs = (namespaces(pid) for pid in (prisoner.pid, os.getpid(), neighbour.pid))
    assert {kind for kind in inside if inside[kind] == ours[kind]} == {"time"}
    assert {kind for kind in inside if inside[kind] == theirs[kind]} == {"time"}


def test_the_program_inherits_three_descriptors_and_none_leads_out(prisoner: Prisoner) -> None:
    links = {path.name: str(path.readlink()) for path in Path(f"/proc/{prisoner.pid}/fd").iterdir()}
    assert links.pop("0") == "/dev/null"
    assert [Path(links.pop(fd)).name for fd in "12"] == ["out", "err"]
    others = [Path(f"/proc/{prisoner.pid}/fd/{fd}") for fd in links]
    # Its own listening socket; ours to compare is in another network namespace.
    listed = Path(f"/proc/{prisoner.pid}/net/tcp").read_text()
    listed += Path(f"/proc/{prisoner.pid}/net/tcp6").read_text()
    for fd in others:
        inode = str(fd.readlink()).removeprefix("socket:[").removesuffix("]")
        assert f" {inode} " in listed


def test_a_command_run_inside_gets_pipes_and_no_descriptor_that_leads_out(
    prisoner: Prisoner,
) -> None:
    with Path("/etc/passwd").open() as open_here:
        os.set_inheritable(open_here.fileno(), False)
        said = prisoner.python(
            """
import os
for fd in range(1024):
    try:
        print(fd, os.readlink(f"/proc/self/fd/{fd}").split(":")[0])
    except OSError:
        pass
"""
        )
    assert said.splitlines() == ["0 pipe", "1 pipe", "2 pipe"]


def test_a_command_run_inside_has_no_terminal_to_type_into(prisoner: Prisoner) -> None:
    said = prisoner.python(
        """
import errno, os
try:
    os.open("/dev/tty", os.O_RDWR)
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    )
    assert said == "ENXIO"


def test_an_abstract_socket_of_the_host_is_not_there(prisoner: Prisoner) -> None:
    name = f"\0stoa-escape-{os.getpid()}"
    program = """
import errno, socket, sys
try:
    socket.socket(socket.AF_UNIX).connect("\\0" + sys.argv[1])
    print("connected")
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(name)
        assert prisoner.python(program, name[1:]) == "ECONNREFUSED"


def test_shared_memory_and_queues_of_the_host_are_not_there(prisoner: Prisoner) -> None:
    made = subprocess.run(["ipcmk", "-M", "4096"], check=True, capture_output=True, text=True)
    number = made.stdout.split()[-1]
    try:
        assert f" {number} " in Path("/proc/sysvipc/shm").read_text()
        said = prisoner.run("/bin/cat", "/proc/sysvipc/shm").output
        assert len(said.splitlines()) == 1  # the heading alone
    finally:
        subprocess.run(["ipcrm", "-m", number], check=True)


def test_the_store_on_the_host_is_closed_to_every_other_user(prisoner: Prisoner) -> None:
    """A set-uid root program in a volume must not be within reach of a user of the host."""
    state_dir = prisoner.host.state_dir
    place = "/data/door" if prisoner.kind == "root" else "/tmp/door"
    prisoner.python(
        "import os, sys\nopen(sys.argv[1], 'w').close()\nos.chmod(sys.argv[1], 0o6755)", place
    )
    store = "store" if (state_dir / "store").exists() else "volumes"
    for kind in (store, f"instances/{prisoner.spec.instance_id}"):
        assert (state_dir / kind).stat().st_mode & 0o077 == 0


def test_no_mount_honours_set_uid_programs(prisoner: Prisoner) -> None:
    program = """
for line in open("/proc/self/mounts"):
    place, kind, options = line.split()[1:4]
    if "nosuid" not in options.split(",") and "ro" not in options.split(","):
        print(place)
"""
    assert prisoner.python(program) == ""


def test_every_controller_holds_the_program_and_its_commands(prisoner: Prisoner) -> None:
    """A process outside one hierarchy would be outside that limit."""
    groups = Path(f"/proc/{prisoner.pid}/cgroup").read_text().splitlines()
    mine = [line for line in groups if line.endswith(f"/{prisoner.spec.instance_id}")]
    needed = {"memory", "pids", "cpu", "cpuacct", "devices", "freezer", ""}
    covered = {name for line in mine for name in line.split(":")[1].split(",")}
    assert covered >= needed - {""} or covered == {""}
    assert prisoner.python("print(open('/proc/self/cgroup').read().count('ins_'))") == "0"


def test_user_namespaces_are_off_behind_the_filter_too(prisoner: Prisoner) -> None:
    said = prisoner.run("/bin/cat", "/proc/sys/user/max_user_namespaces").output
    assert said == "0\n"
