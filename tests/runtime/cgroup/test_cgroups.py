"""The real cgroups of this machine: membership, killing, removal, usage."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from runtime.cgroup import Cgroups
from runtime.cgroup.layout import Version
from runtime.config import HostConfig
from runtime.errors import HostError, SpecInvalidError
from tests.support import leftovers

pytestmark = pytest.mark.root
ONE, TWO = "ins_00000001", "ins_00000002"
Started = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def cgroups(tmp_path: Path) -> Iterator[Cgroups]:
    """Cgroups of a scope of this test alone; that nothing is left is part of every test."""
    host = HostConfig(
        "local", leftovers.scope(), tmp_path, IPv4Network("100.98.0.0/16"), range(10000, 10010)
    )
    found = Cgroups.detect(host)
    yield found
    found.remove_scope()
    left = [tree for tree in found.layout.hierarchies for _ in tree.glob(f"{leftovers.scope()}_*")]
    assert left == []


@pytest.fixture
def started(cgroups: Cgroups) -> Iterator[Started]:
    """Starts programs inside an instance's launching cgroup."""
    running: list[subprocess.Popen[bytes]] = []

    def start(instance_id: str, *argv: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            argv or ("sleep", "100"),
            preexec_fn=lambda: cgroups.enter(instance_id),  # noqa: PLW1509 - one thread here
            stdout=subprocess.PIPE,
        )
        running.append(process)
        return process

    yield start
    for instance_id in cgroups.instances():
        cgroups.kill(instance_id)
    for process in running:
        process.wait()
        if process.stdout:
            process.stdout.close()


def container(cgroups: Cgroups, instance_id: str, pid: int) -> list[Path]:
    """Move a process to where crun would put it; returns the directories, by hierarchy."""
    places = [Path(f"{tree}{cgroups.oci_path(instance_id)}") for tree in cgroups.layout.hierarchies]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        if not place.is_relative_to("/sys/fs/cgroup/cpuset"):  # needs processors set first
            (place / "cgroup.procs").write_text(str(pid))
    return places


def test_who_enters_is_found_with_its_children(cgroups: Cgroups, started: Started) -> None:
    process = started(ONE, "sh", "-c", "sleep 100 & echo $!; wait")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert cgroups.pids(ONE) == tuple(sorted((process.pid, child)))
    assert cgroups.instances() == (ONE,)
    assert cgroups.pids(TWO) == ()


def test_a_container_and_its_launcher_are_both_found(cgroups: Cgroups, started: Started) -> None:
    launcher, first = started(ONE), started(ONE)
    container(cgroups, ONE, first.pid)
    assert cgroups.pids(ONE) == tuple(sorted((launcher.pid, first.pid)))


def test_processes_in_a_container_s_own_cgroups_are_found(
    cgroups: Cgroups, started: Started
) -> None:
    process = started(ONE)
    for place in container(cgroups, ONE, process.pid):
        (place / "own").mkdir()
        if "cpuset" not in str(place):
            (place / "own" / "cgroup.procs").write_text(str(process.pid))
    assert cgroups.pids(ONE) == (process.pid,)
    cgroups.kill(ONE)
    cgroups.remove(ONE)
    assert cgroups.instances() == ()


def test_kill_ends_everything_of_one_instance_only(cgroups: Cgroups, started: Started) -> None:
    mine, other = started(ONE, "sh", "-c", "trap '' TERM; sleep 100 & wait"), started(TWO)
    cgroups.kill(ONE)
    assert cgroups.pids(ONE) == ()
    assert mine.wait(5) == -9
    assert other.poll() is None


def test_kill_ends_a_frozen_container(cgroups: Cgroups, started: Started) -> None:
    process = started(ONE)
    container(cgroups, ONE, process.pid)
    freeze(cgroups)
    cgroups.kill(ONE)
    assert process.wait(5) == -9


def test_kill_ends_a_program_that_forks_without_end(cgroups: Cgroups, started: Started) -> None:
    bomb = "import os\nfor _ in range(40):\n  os.fork()\n  if os.getpid() % 7: os.sched_yield()\n"
    process = started(ONE, sys.executable, "-c", f"input()\n{bomb}import time; time.sleep(100)")
    process.kill()
    process = started(
        ONE, sys.executable, "-c", f"import time; time.sleep(.2)\n{bomb}time.sleep(100)"
    )
    for place in container(cgroups, ONE, process.pid):
        if (place / "pids.max").exists():
            (place / "pids.max").write_text("200")
    time.sleep(0.5)
    cgroups.kill(ONE)
    assert cgroups.pids(ONE) == ()


def test_kill_that_cannot_succeed_says_who_is_left(
    cgroups: Cgroups, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = started(ONE)
    if cgroups.layout.version is Version.V2:
        pytest.skip("cgroup.kill needs no signal")
    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", lambda *_: None)
        with pytest.raises(HostError, match=f"still has processes .{process.pid}"):
            cgroups.kill(ONE, deadline_seconds=0.05)


def test_remove_takes_the_cgroup_out_of_every_hierarchy(cgroups: Cgroups, started: Started) -> None:
    process = started(ONE)
    places = container(cgroups, ONE, process.pid)
    cgroups.kill(ONE)
    process.wait()
    cgroups.remove(ONE)
    cgroups.remove(ONE)
    assert [place for place in places if place.exists()] == []
    assert cgroups.instances() == ()


def test_remove_of_a_cgroup_in_use_says_by_whom(cgroups: Cgroups, started: Started) -> None:
    process = started(ONE)
    with pytest.raises(HostError, match=f"processes in it: .{process.pid}"):
        cgroups.remove(ONE, deadline_seconds=0.05)


def test_leave_removes_the_launching_cgroup_once_it_is_empty(
    cgroups: Cgroups, started: Started
) -> None:
    process = started(ONE)
    cgroups.leave(ONE)
    assert cgroups.instances() == (ONE,)
    process.kill()
    process.wait()
    cgroups.leave(ONE)
    cgroups.leave(ONE)
    assert cgroups.instances() == ()


def test_a_busy_container_uses_processor_time_and_memory(
    cgroups: Cgroups, started: Started
) -> None:
    work = "x = bytearray(20_000_000)\nfor i in range(300_000): pass\nprint(1, flush=True)\ntime.sleep(99)"
    process = started(ONE, sys.executable, "-c", f"import time; time.sleep(.1)\n{work}")
    container(cgroups, ONE, process.pid)
    first = cgroups.meter(keep_open=0).usage(ONE)
    assert process.stdout is not None
    process.stdout.readline()
    usage = cgroups.meter(keep_open=0).usage(ONE)
    assert first is not None
    assert usage is not None
    assert usage.cpu_nanos > first.cpu_nanos
    assert usage.memory_bytes > 20_000_000
    assert usage.memory_peak_bytes >= usage.memory_bytes
    assert (usage.pids, usage.oom_kills) == (1, 0)


def test_files_that_stay_open_follow_a_container_that_is_made_anew(
    cgroups: Cgroups, started: Started
) -> None:
    meter = cgroups.meter()
    for _ in range(2):
        process = started(ONE)
        container(cgroups, ONE, process.pid)
        assert [found.pids for _ in range(2) if (found := meter.usage(ONE))] == [1, 1]
        cgroups.kill(ONE)
        process.wait()
        cgroups.remove(ONE)
        assert meter.usage(ONE) is None
        assert meter.oom_kills(ONE) == 0
    meter.close()


def test_an_instance_without_a_container_has_no_sample(cgroups: Cgroups, started: Started) -> None:
    started(ONE)
    assert cgroups.meter(keep_open=0).usage(ONE) is None
    assert cgroups.meter(keep_open=0).usage(TWO) is None


def test_names_that_could_leave_the_scope_are_refused(cgroups: Cgroups) -> None:
    for bad in ("../other", "ins_00000001/x", ""):
        with pytest.raises(SpecInvalidError):
            cgroups.pids(bad)
        with pytest.raises(SpecInvalidError):
            cgroups.oci_path(bad)


def freeze(cgroups: Cgroups) -> None:
    if cgroups.layout.version is Version.V2:
        (cgroups.layout.hierarchies[0] / cgroups.oci_path(ONE)[1:] / "cgroup.freeze").write_text(
            "1"
        )
        return
    place = cgroups.layout.roots["freezer"] / cgroups.oci_path(ONE)[1:] / "freezer.state"
    place.write_text("FROZEN")
    while place.read_text().strip() != "FROZEN":
        time.sleep(0.001)
