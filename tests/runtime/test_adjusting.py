"""Other limits for a container that runs: what the kernel then really has, and kills in between."""

import os
import re
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.bundle import InstanceDirectory
from runtime.errors import HostError, LimitInUseError
from runtime.specs import Fence, InstanceSpec
from runtime.units import KIB, MIB, Limits
from tests.runtime.hosts import Host, wait_until

pytestmark = pytest.mark.root

FIRST = Fence(1, 1)
SMALL = Limits(500, 48 * MIB, 32, 90 * MIB)


def memory_ceiling(host: Host, spec: InstanceSpec) -> int:
    files = host.cgroup_files(spec, "memory.limit_in_bytes", "memory.max")
    return int(next(iter(files.values())).read_text())


def process_ceiling(host: Host, spec: InstanceSpec) -> int:
    return int(host.cgroup_files(spec, "pids.max")["pids.max"].read_text())


def largest_file(pid: int) -> int:
    (found,) = re.findall(r"Max file size +(\d+)", Path(f"/proc/{pid}/limits").read_text())
    return int(found)


def test_ceilings_hold_at_once_and_after_a_restart_of_the_program(host: Host) -> None:
    host.start_keeper()
    driver, spec = host.driver(), host.spec()
    before = driver.ensure_running(spec, fence=FIRST)
    driver.ensure_running(replace(spec, ceilings=SMALL), fence=FIRST)
    assert (memory_ceiling(host, spec), process_ceiling(host, spec)) == (48 * MIB, 32)
    os.kill(before.pid, signal.SIGKILL)

    def again() -> bool:
        return driver.status(spec.instance_id).pid not in {0, before.pid}

    wait_until(again, what="it runs again")
    assert (memory_ceiling(host, spec), process_ceiling(host, spec)) == (48 * MIB, 32)


def test_a_change_that_is_refused_half_way_leaves_what_was(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.start_keeper()
    driver, spec = host.driver(), host.spec()
    before = driver.ensure_running(spec, fence=FIRST)
    tiny = replace(spec, ceilings=replace(SMALL, memory_bytes=64 * KIB))
    with pytest.raises(LimitInUseError):
        driver.ensure_running(tiny, fence=FIRST)
    assert (memory_ceiling(host, spec), process_ceiling(host, spec)) == (64 * MIB, 64)

    def refuse(*_args: object, **_named: object) -> None:
        raise HostError("no such table")

    with monkeypatch.context() as patched:
        patched.setattr("runtime.network.limit", refuse)
        with pytest.raises(HostError, match="no such table"):
            driver.ensure_running(replace(spec, ceilings=SMALL), fence=FIRST)
    assert (memory_ceiling(host, spec), process_ceiling(host, spec)) == (64 * MIB, 64)
    record = InstanceDirectory.of(host.state_dir, spec.instance_id).read()
    assert record
    assert record.spec == replace(spec, new_volume=False)
    assert driver.ensure_running(spec, fence=FIRST).pid == before.pid


def test_an_agent_killed_before_the_record_is_written_is_made_good_by_a_repeat(host: Host) -> None:
    host.start_keeper()
    spec = host.spec()
    changed = replace(spec, ceilings=SMALL)
    before = host.driver().ensure_running(spec, fence=FIRST)
    agent = os.fork()
    if agent == 0:
        InstanceDirectory.write = lambda *_args: os._exit(9)  # type: ignore[method-assign]
        host.driver().ensure_running(changed, fence=FIRST)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(agent, 0)[1]) == 9
    assert process_ceiling(host, spec) == 32
    assert host.driver().ensure_running(changed, fence=FIRST).pid == before.pid
    record = InstanceDirectory.of(host.state_dir, spec.instance_id).read()
    assert record
    assert record.spec == replace(changed, new_volume=False)


def test_the_largest_file_follows_where_this_host_may_change_it(host: Host) -> None:
    host.start_keeper()
    driver, spec = host.driver(), host.spec()
    before = driver.ensure_running(spec, fence=FIRST)
    driver.ensure_running(replace(spec, ceilings=SMALL), fence=FIRST)
    try:
        resource.prlimit(before.pid, resource.RLIMIT_FSIZE)
        wanted = 90 * MIB
    except PermissionError:
        wanted = 100 * MIB
    assert largest_file(before.pid) == wanted
