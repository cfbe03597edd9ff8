"""What a container is on a real host: its limits, its files, its end, and that nothing of it stays."""

import json
import os
import time
from pathlib import Path

import pytest

from runtime.bundle import first_id
from runtime.errors import CommandFailedError, ExitedError
from runtime.keeper.logs import FILE_LIMIT
from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.units import MIB, Limits
from tests.runtime.hosts import Host, fetch, wait_until, write_test_image

pytestmark = pytest.mark.root

FIRST = Fence(1, 1)


@pytest.fixture
def running(host: Host) -> Host:
    """A host with instance 0 running."""
    host.start_keeper()
    host.driver().ensure_running(host.spec(volume="acme"), fence=FIRST)
    return host


def inside(host: Host, *argv: str) -> str:
    """What a command says inside instance 0."""
    return host.driver().exec(host.spec().instance_id, argv).output


def test_a_removed_instance_leaves_nothing_behind(running: Host) -> None:
    spec = running.spec(volume="acme")
    mounts = Path("/proc/self/mountinfo").read_text()
    assert running.traces(spec) != []
    running.driver().ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
    assert running.traces(spec) == []
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert running.spaces.volumes() == ()


def test_starting_adds_no_mount_to_the_host(host: Host) -> None:
    host.start_keeper()
    before = Path("/proc/self/mountinfo").read_text()
    host.driver().ensure_running(host.spec(volume="acme"), fence=FIRST)
    assert Path("/proc/self/mountinfo").read_text() == before


def test_program_and_exec_alike_have_no_capabilities_and_a_filter(running: Host) -> None:
    for process in ("1", "self"):
        status = dict(
            line.split(":\t", 1)
            for line in inside(running, "cat", f"/proc/{process}/status").splitlines()
            if ":\t" in line
        )
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[kind], 16) == 0
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert status["Uid"].split() == ["1000"] * 4


@pytest.mark.parametrize(
    ("attempt", "refusal"),
    [
        ("mount -t tmpfs none /tmp", "permission denied"),
        ("unshare -U true", "not permitted"),
        ("mknod /tmp/disk b 254 0", "not permitted"),
        ("chown 0 /tmp", "not permitted"),
        ("echo 1 >/proc/sys/kernel/panic", "Read-only|nonexistent|Permission denied"),
        ("cat /proc/kcore", "Permission denied|No such"),
        ("touch /etc/mine", "Permission denied"),
        ("hostname other", "not permitted"),
    ],
)
def test_what_a_program_must_not_do_is_refused(running: Host, attempt: str, refusal: str) -> None:
    import re

    said = inside(running, "sh", "-c", f"{attempt}; echo code $?")
    assert re.search(refusal, said), said
    assert "code 0" not in said


def test_it_sees_its_own_processes_and_its_own_name_only(running: Host) -> None:
    assert inside(running, "hostname").strip() == "shop-0"
    listed = inside(running, "ls", "/proc").split()
    assert len([name for name in listed if name.isdigit()]) <= 2
    assert sorted(inside(running, "ls", "/sys/class/net").split()) == ["eth0", "lo"]


def test_ids_on_the_host_are_a_range_of_its_own(running: Host) -> None:
    spec = running.spec()
    start = first_id(running.config, spec.published_port)
    pid = running.driver().status(spec.instance_id).pid
    assert Path(f"/proc/{pid}").stat().st_uid == start + 1000
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", str(start), "65536"]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"


def test_ceilings_are_set_in_the_kernel(host: Host) -> None:
    host.start_keeper()
    spec = host.spec(ceilings=Limits(250, 32 * MIB, 20, 100 * MIB))
    host.driver().ensure_running(spec, fence=FIRST)
    files = host.cgroup_files(
        spec, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max",
        "memory.swap.max", "pids.max", "cpu.cfs_quota_us", "cpu.max",
    )  # fmt: skip
    found = {name: path.read_text().strip() for name, path in files.items()}
    assert found["pids.max"] == "20"
    memory = {found.get("memory.limit_in_bytes"), found.get("memory.max")}
    assert str(32 * MIB) in memory
    swap = {found.get("memory.memsw.limit_in_bytes"), found.get("memory.swap.max")}
    assert swap & {str(32 * MIB), "0"}
    quota = {found.get("cpu.cfs_quota_us"), found.get("cpu.max")}
    assert quota & {"25000", "25000 100000"}


def test_all_containers_together_weigh_one_process_on_each_core(host: Host) -> None:
    host.start_keeper()
    spec = host.spec()
    host.driver().ensure_running(spec, fence=FIRST)
    (place,) = host.cgroup_files(spec, "cpu.shares", "cpu.weight").values()
    found, cores = (place.parent.parent / place.name).read_text(), os.cpu_count() or 1
    assert int(found) == cores * (1024 if place.name == "cpu.shares" else 100)


def test_ceilings_set_later_are_those_a_start_sets(host: Host) -> None:
    host.start_keeper()
    small = Limits(250, 32 * MIB, 20, 100 * MIB, io_bytes_per_second=3_000_000)
    large = Limits(1000, 64 * MIB, 40, 100 * MIB, io_bytes_per_second=6_000_000)
    one, two = host.spec(ceilings=small), host.spec(1, ceilings=large)
    for spec in (one, two):
        host.driver().ensure_running(spec, fence=FIRST)
    assert kernel_ceilings(host, one) != kernel_ceilings(host, two)
    host.cgroups.set_limits(one.instance_id, large)
    assert kernel_ceilings(host, one) == kernel_ceilings(host, two)
    host.cgroups.set_limits(two.instance_id, small)
    host.cgroups.set_limits(one.instance_id, small)
    assert kernel_ceilings(host, one) == kernel_ceilings(host, two)
    assert any("3000000" in text for text in kernel_ceilings(host, one).values())


def test_the_volume_outlives_the_container_and_lies_on_disk_with_plain_ids(host: Host) -> None:
    host.start_keeper()
    driver = host.driver()
    spec = host.spec(volume="acme", mode="writer")
    driver.ensure_running(spec, fence=FIRST)
    greeting = host.spaces.volume("acme") / "greeting"
    assert greeting.read_text() == "hello\n"
    assert (greeting.stat().st_uid, greeting.stat().st_gid) == (1000, 1000)
    driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.KEEP)
    elsewhere = host.spec(5, volume="acme")
    driver.ensure_running(elsewhere, fence=FIRST)
    assert driver.exec(elsewhere.instance_id, ("cat", "/data/greeting")).output == "hello\n"


def test_the_image_stays_as_it_was_and_the_layer_begins_anew(running: Host) -> None:
    driver, spec = running.driver(), running.spec(volume="acme")
    assert inside(running, "sh", "-c", "echo changed >/tmp/x; cat /tmp/x") == "changed\n"
    image = running.images.rootfs(running.digest)
    assert not (image / "data").exists()
    assert list(image.glob("etc/*")) == [image / "etc" / "passwd"]
    assert inside(running, "cat", "/etc/resolv.conf") == f"nameserver {running.config.address}\n"
    driver.ensure_stopped(spec.instance_id, fence=FIRST)
    driver.ensure_running(spec, fence=FIRST)
    assert inside(running, "ls", "/tmp") == ""


def test_the_published_port_leads_to_the_container_from_this_host(running: Host) -> None:
    spec = running.spec()
    answer = fetch(str(running.config.address), spec.published_port)
    assert answer.startswith(b"HTTP/1.1 200")
    running.driver().ensure_stopped(spec.instance_id, fence=FIRST)
    assert fetch(str(running.config.address), spec.published_port) == b""


def test_a_program_without_a_handler_for_term_is_ended_at_once(running: Host) -> None:
    began = time.monotonic()
    stopped = running.driver().ensure_stopped(
        running.spec().instance_id, fence=FIRST, grace_seconds=10
    )
    assert time.monotonic() - began < 8, "the grace of 10 s was not waited for"
    assert stopped.exit_code == 137


def test_a_polite_program_gets_its_grace_and_its_last_words_are_kept(host: Host) -> None:
    host.start_keeper()
    driver, spec = host.driver(), host.spec(mode="polite")
    driver.ensure_running(spec, fence=FIRST)
    assert driver.ensure_stopped(spec.instance_id, fence=FIRST).exit_code == 7
    assert driver.logs(spec.instance_id)[-1].endswith("out going")


def test_a_frozen_container_can_be_removed(running: Host) -> None:
    spec = running.spec(volume="acme")
    switches = {"freezer.state": "FROZEN", "cgroup.freeze": "1"}
    files = running.cgroup_files(spec, *switches)
    assert files
    for name, path in files.items():
        path.write_text(switches[name])
    running.driver().ensure_absent(
        spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE, grace_seconds=0.2
    )
    assert running.traces(spec) == []


def test_a_program_that_talks_without_end_cannot_fill_the_disk(host: Host) -> None:
    host.start_keeper()
    driver, spec = host.driver(), host.spec(mode="chatty")
    driver.ensure_running(spec, fence=FIRST)
    wait_until(
        lambda: any(
            "line 19999 " in line or "lines dropped" in line
            for line in driver.logs(spec.instance_id, lines=5)
        ),
        what="the last line is in the log, or how many were left out",
    )
    place = host.state_dir / "instances" / spec.instance_id
    size = sum(
        (place / name).stat().st_size for name in ("log", "log.1") if (place / name).exists()
    )
    assert size < 2 * FILE_LIMIT + 200_000
    assert len(driver.logs(spec.instance_id, lines=1000)) == 1000


def test_the_program_cannot_reach_its_log_through_its_output(running: Host) -> None:
    said = inside(running, "ls", "-l", "/proc/1/fd/1", "/proc/1/fd/2")
    assert "/out" in said
    pid = running.driver().status(running.spec().instance_id).pid
    assert Path(f"/proc/{pid}/fd/1").is_fifo()


def test_the_program_inherits_no_descriptor_but_the_three(running: Host) -> None:
    pid = running.driver().status(running.spec().instance_id).pid
    targets = {path.name: str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    assert targets["0"] == "/dev/null"
    others = {fd: to for fd, to in targets.items() if fd not in "012"}
    assert all(to.startswith("socket:") for to in others.values()), others  # its own listening one


def test_a_command_that_runs_too_long_is_killed_inside_too(running: Host) -> None:
    with pytest.raises(CommandFailedError, match="did not end within"):
        running.driver().exec(running.spec().instance_id, ("sleep", "97"), timeout_seconds=0.5)
    wait_until(lambda: "sleep" not in inside(running, "ps"), what="sleep is gone")


def test_output_of_a_command_is_cut_at_its_ceiling(running: Host) -> None:
    done = running.driver().exec(
        running.spec().instance_id,
        ("dd", "if=/dev/zero", "bs=1024", "count=300"),
        timeout_seconds=5,
    )
    assert len(done.output) <= 64 * 1024


def test_an_image_that_starts_as_root_gets_the_little_it_needs(host: Host, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    write_test_image(layout, user="0", mark="root")
    host.digest = host.images.import_layout(layout, "root")
    host.start_keeper()
    host.driver().ensure_running(host.spec(container_port=80), fence=FIRST)
    assert inside(host, "sh", "-c", "touch /tmp/x && chown 1000 /tmp/x && id -u").strip() == "0"
    assert "permission denied" in inside(host, "mount", "-t", "tmpfs", "none", "/tmp")


def test_the_last_words_of_a_program_that_ended_are_in_the_error(host: Host) -> None:
    host.start_keeper()
    with pytest.raises(
        ExitedError, match="ended with exit code 3 before it was healthy: cannot go on"
    ):
        host.driver().ensure_running(host.spec(mode="ends"), fence=FIRST)
    assert host.containers(host.spec(mode="ends")) == 0


def test_an_instance_is_born_small(running: Host) -> None:
    place = running.state_dir / "instances" / running.spec().instance_id
    blocks = sum(
        path.lstat().st_blocks * 512 for path in (place, *place.rglob("*")) if path.exists()
    )
    assert blocks <= 28 * 1024
    assert json.loads((place / "instance.json").read_text())["desired"] == "running"


def kernel_ceilings(host: Host, spec: InstanceSpec) -> dict[str, str]:
    """What the kernel says of an instance's limits, by file."""
    files = host.cgroup_files(
        spec, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max", "pids.max",
        "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares", "cpu.max", "cpu.weight", "io.max",
        "blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device",
    )  # fmt: skip
    return {name: path.read_text() for name, path in files.items()}
