"""Limits of a container that runs: what is written where, in which order, and what is refused."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.cgroup import adjust
from runtime.cgroup.devices import disks_under
from runtime.cgroup.layout import Version
from runtime.cgroup.limits import memory_writes_v1, other_writes, scope_weight, weight
from runtime.errors import HostError, LimitInUseError
from runtime.units import MIB, Limits

ONE = "ins_00000001"
LIMITS = Limits(250, 64 * MIB, 32, 100 * MIB, io_bytes_per_second=5_000_000)

# A host whose state lies in btrfs in a loop-mounted file, on a partition of a virtio disk.
MOUNTINFO = """\
22 27 0:21 / /proc rw - proc proc rw
27 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
88 27 0:44 / /srv/stoa/host/store rw - btrfs /dev/loop3 rw,space_cache=v2
89 27 0:45 / /srv/stoa/hostile rw - tmpfs tmpfs rw
"""


def test_lowered_memory_comes_before_memory_with_swap_and_raised_memory_after_it() -> None:
    lower = [one.file for one in memory_writes_v1(LIMITS, 128 * MIB)]
    higher = [one.file for one in memory_writes_v1(LIMITS, 32 * MIB)]
    assert lower == ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
    assert higher == lower[::-1]


def test_version_1_takes_quota_shares_and_a_line_for_each_disk() -> None:
    found = {(one.file, one.value) for one in other_writes(Version.V1, LIMITS, ((254, 0),))}
    assert found == {
        ("cpu.idle", "0"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "25000"),
        ("cpu.shares", "256"),
        ("pids.max", "32"),
        ("blkio.throttle.read_bps_device", "254:0 5000000"),
        ("blkio.throttle.write_bps_device", "254:0 5000000"),
    }


def test_version_2_takes_quota_with_its_period_and_weights() -> None:
    found = {one.file: one.value for one in other_writes(Version.V2, LIMITS, ((254, 0),))}
    assert found == {
        "cpu.idle": "0",
        "cpu.max": "25000 100000",
        "cpu.weight": "10",
        "pids.max": "32",
        "io.max": "254:0 rbps=5000000 wbps=5000000",
    }
    assert (weight(2), weight(262_144)) == (1, 10_000)


def test_a_core_or_more_is_given_out_in_pieces_that_one_core_uses_up() -> None:
    whole, less = Limits(1000, MIB, 1, MIB), Limits(999, MIB, 1, MIB)
    assert (whole.cpu_quota_micros, whole.cpu_period_micros) == (5_000, 5_000)
    assert (less.cpu_quota_micros, less.cpu_period_micros) == (99_900, 100_000)
    assert Limits(2000, MIB, 1, MIB).cpu_quota_micros == 10_000
    assert other_writes(Version.V2, whole, ())[1].value == "5000 5000"


def test_all_containers_weigh_as_much_as_one_process_of_the_host_on_each_core() -> None:
    one, many = (scope_weight(Version.V1, cores) for cores in (1, 64))
    assert (one.file, one.value, many.value) == ("cpu.shares", "1024", "65536")
    assert scope_weight(Version.V2, 4).value == "400"
    assert scope_weight(Version.V1, 1000).value == "262144"
    assert scope_weight(Version.V2, 1000).value == "10000"


def test_no_ceiling_of_disk_traffic_takes_an_earlier_one_away() -> None:
    free = Limits(250, 64 * MIB, 32, 100 * MIB)
    assert other_writes(Version.V1, free, ((7, 3),))[-1].value == "7:3 0"
    assert other_writes(Version.V2, free, ((7, 3),))[-1].value == "7:3 rbps=max wbps=max"


def test_a_store_in_a_file_is_limited_on_the_loop_device_and_on_the_disk_below(
    tmp_path: Path,
) -> None:
    sys_dir = block_devices(tmp_path)
    numbers = {"/dev/loop3": (7, 3)}
    found = disks_under(
        Path("/srv/stoa/host"), mountinfo=MOUNTINFO, sys=sys_dir, number_of=numbers.get
    )
    assert found == ((7, 3), (254, 0))


def test_a_plain_directory_is_limited_on_the_disk_its_partition_belongs_to(tmp_path: Path) -> None:
    sys_dir = block_devices(tmp_path)
    elsewhere = Path("/home")
    assert disks_under(elsewhere, mountinfo=MOUNTINFO, sys=sys_dir) == ((254, 0),)


def test_a_directory_in_memory_has_no_disk(tmp_path: Path) -> None:
    sys_dir = block_devices(tmp_path)
    place = Path("/srv/stoa/hostile")
    found = disks_under(place, mountinfo=MOUNTINFO, sys=sys_dir, number_of=lambda _: None)
    assert found == ()


def test_this_machine_s_disks_are_known_to_it() -> None:
    for major, minor in disks_under(Path(__file__).parent):
        assert Path(f"/sys/dev/block/{major}:{minor}").exists()


def test_version_2_gives_memory_back_before_the_ceiling_falls(tmp_path: Path) -> None:
    place = version_2(tmp_path, current=40 * MIB)
    adjust.set_limits(ONE, LIMITS, version=Version.V2, place=lambda _: place, disks=((254, 0),))
    assert (place / "memory.max").read_text() == str(64 * MIB)
    assert (place / "memory.high").read_text() == "max"
    assert (place / "cpu.max").read_text() == "25000 100000"
    assert (place / "io.max").read_text() == "254:0 rbps=5000000 wbps=5000000"


def test_version_2_refuses_a_ceiling_below_what_is_in_use_and_changes_nothing(
    tmp_path: Path,
) -> None:
    place = version_2(tmp_path, current=80 * MIB)
    before = {path.name: path.read_text() for path in place.iterdir()}
    with pytest.raises(LimitInUseError, match=r"uses 80 MiB .* with 64 MiB"):
        adjust.set_limits(ONE, LIMITS, version=Version.V2, place=lambda _: place, disks=())
    assert {path.name: path.read_text() for path in place.iterdir()} == before


def test_what_does_not_run_has_no_ceilings(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="does not run here"):
        adjust.set_limits(
            ONE, LIMITS, version=Version.V2, place=lambda _: tmp_path / "none", disks=()
        )


@pytest.fixture
def hungry() -> Iterator[tuple[Path, int]]:
    """A version 1 memory cgroup with a process that holds 40 MB; yields the directory and the pid."""
    tree = Path("/sys/fs/cgroup/memory")
    if not (tree / "memory.limit_in_bytes").exists():
        pytest.skip("cgroup version 1 is not mounted here")
    place = tree / f"stoa-test-{id(tree):x}"
    place.mkdir()
    (place / "memory.limit_in_bytes").write_text(str(128 * MIB))
    work = "input()\nx = bytearray(40_000_000)\nprint(1, flush=True)\ninput()"
    process = subprocess.Popen(
        [sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    (place / "cgroup.procs").write_text(str(process.pid))
    process.stdin.write(b"\n")
    process.stdin.flush()
    process.stdout.readline()
    yield place, process.pid
    process.kill()
    process.communicate()
    place.rmdir()


@pytest.mark.root
def test_version_1_refuses_a_ceiling_below_what_is_in_use_and_changes_nothing(
    hungry: tuple[Path, int],
) -> None:
    place, pid = hungry
    ceilings = Limits(250, 16 * MIB, 32, 100 * MIB)
    with pytest.raises(LimitInUseError, match="cannot be taken back"):
        adjust._set_memory_v1(ONE, ceilings, lambda _: place)
    assert int((place / "memory.limit_in_bytes").read_text()) == 128 * MIB
    assert Path(f"/proc/{pid}").exists()


def block_devices(root: Path) -> Path:
    """/sys/dev/block of the recorded host: a disk, its partition, and a loop device on it."""
    disk = root / "devices" / "virtio1" / "block" / "vda"
    partition, loop = disk / "vda1", root / "devices" / "virtual" / "block" / "loop3"
    listing = root / "dev" / "block"
    for place, number in ((disk, "254:0"), (partition, "254:1"), (loop, "7:3")):
        place.mkdir(parents=True)
        (place / "dev").write_text(f"{number}\n")
        listing.mkdir(parents=True, exist_ok=True)
        (listing / number).symlink_to(place)
    (partition / "partition").write_text("1\n")
    (loop / "loop").mkdir()
    (loop / "loop" / "backing_file").write_text("/var/lib/stoa/store.btrfs\n")
    return listing


def version_2(root: Path, *, current: int) -> Path:
    """A version 2 cgroup as plain files: what is written stays to be read."""
    place = root / ONE
    place.mkdir()
    files = {
        "memory.current": str(current), "memory.high": "max", "memory.max": str(128 * MIB),
        "cpu.max": "max 100000", "cpu.weight": "100", "pids.max": "max", "io.max": "",
    }  # fmt: skip
    for name, text in files.items():
        (place / name).write_text(text)
    return place
