"""Anything may be killed at any moment: a repeat ends with exactly one container, a removal with none."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.errors import HostError, RuntimeCoreError
from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.statuses import ContainerState
from runtime.units import MIB, Limits
from runtime.wire import to_wire
from tests.runtime.hosts import ROOT, Host, fetch, wait_until

pytestmark = pytest.mark.root

FIRST = Fence(1, 1)
# Spread over a start of about 30 ms, and beyond it when the machine is busy.
MOMENTS = (0.0, 0.004, 0.008, 0.014, 0.02, 0.03, 0.05)

_AGENT = """
import os, sys
from runtime.config import host_config
from runtime.crun import CrunDriver
from runtime.specs import Fence, InstanceSpec
from runtime.wire import from_wire
import json
driver = CrunDriver(host_config(os.environ))
spec = from_wire(InstanceSpec, json.loads(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
driver.ensure_running(spec, fence=Fence(1, 1))
"""


def assert_one_container_then_nothing(host: Host, spec: InstanceSpec) -> None:
    """A fresh agent repeats the call, looks, and removes: the end of every crash test."""
    driver = host.driver()
    status = driver.ensure_running(spec, fence=FIRST)
    assert status.healthy
    assert host.containers(spec) == 1
    assert fetch(status.address, spec.container_port).startswith(b"HTTP/1.1 200")
    driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
    assert host.traces(spec) == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_agent_killed_in_a_start_leaves_nothing_that_a_repeat_cannot_settle(
    host: Host, moment: float
) -> None:
    host.start_keeper()
    spec = host.spec(volume="acme")
    with subprocess.Popen(
        [sys.executable, "-c", _AGENT, json.dumps(to_wire(spec))],
        env=host.environ,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as agent:
        assert agent.stdin
        assert agent.stdout
        agent.stdout.readline()
        agent.stdin.write(b"go\n")
        agent.stdin.flush()
        time.sleep(moment)
        agent.kill()
    assert_one_container_then_nothing(host, spec)


@pytest.mark.parametrize("victim", ["stoa-launch", "crun"])
@pytest.mark.parametrize("moment", MOMENTS[:5])
def test_a_start_whose_launcher_or_crun_is_killed_is_undone_and_can_be_repeated(
    host: Host, victim: str, moment: float
) -> None:
    host.start_keeper()
    spec = host.spec(volume="acme")
    killer = os.fork()
    if killer == 0:
        _kill_when_seen(host, spec, victim, moment)
        os._exit(0)
    with suppress(RuntimeCoreError):
        host.driver().ensure_running(spec, fence=FIRST)
    os.kill(killer, signal.SIGKILL)
    os.waitpid(killer, 0)
    assert_one_container_then_nothing(host, spec)


def _kill_when_seen(host: Host, spec: InstanceSpec, victim: str, moment: float) -> None:
    while True:
        assert host.process
        children = Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children").read_text()
        for pid in (*host.cgroups.pids(spec.instance_id), *map(int, children.split())):
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == victim:
                    time.sleep(moment / 2)
                    os.kill(pid, signal.SIGKILL)
                    return


def test_a_start_that_is_cut_short_is_an_error_that_may_be_repeated(host: Host) -> None:
    host.start_keeper()
    killer = os.fork()
    if killer == 0:
        _kill_when_seen(host, host.spec(), "stoa-launch", 0.0)
        os._exit(0)
    with pytest.raises(HostError) as caught:
        host.driver().ensure_running(host.spec(), fence=FIRST)
    os.waitpid(killer, 0)
    assert caught.value.may_repeat
    assert host.containers(host.spec()) == 0


def test_containers_outlive_a_killed_keeper_and_are_adopted_by_the_next(host: Host) -> None:
    host.start_keeper()
    spec = host.spec(mode="polite")
    before = host.driver().ensure_running(spec, fence=FIRST)
    time.sleep(0.7)  # the keeper writes its memory half a second after a change
    host.end_keeper(signal.SIGKILL)
    assert fetch(before.address, spec.container_port).startswith(b"HTTP/1.1 200")
    host.start_keeper()
    after = host.driver().status(spec.instance_id)
    assert (after.pid, after.state, after.healthy) == (before.pid, ContainerState.RUNNING, True)
    stopped = host.driver().ensure_stopped(spec.instance_id, fence=FIRST)
    assert stopped.exit_code in {7, 255}  # 255: kernels before 6.15 do not tell a stranger
    assert_one_container_then_nothing(host, spec)


def test_a_program_that_dies_while_no_keeper_lives_is_started_by_the_next(host: Host) -> None:
    host.start_keeper()
    spec = host.spec()
    before = host.driver().ensure_running(spec, fence=FIRST)
    host.end_keeper(signal.SIGKILL)
    os.kill(before.pid, signal.SIGKILL)
    host.start_keeper()
    wait_until(lambda: host.driver().status(spec.instance_id).pid, what="it runs again")
    assert_one_container_then_nothing(host, spec)


@pytest.mark.parametrize("moment", MOMENTS[:6])
def test_a_keeper_killed_in_a_start_does_not_double_the_container(
    host: Host, moment: float
) -> None:
    host.start_keeper()
    spec = host.spec()
    keeper = host.process
    assert keeper
    killer = os.fork()
    if killer == 0:
        while not host.cgroups.pids(spec.instance_id):
            pass
        time.sleep(moment)
        os.kill(keeper.pid, signal.SIGKILL)
        os._exit(0)
    with suppress(RuntimeCoreError):
        host.driver().ensure_running(spec, fence=FIRST)
    os.waitpid(killer, 0)
    keeper.wait(5)
    host.start_keeper()
    assert_one_container_then_nothing(host, spec)


def test_a_keeper_that_is_told_to_end_stops_all_and_the_next_starts_all_that_should_run(
    host: Host,
) -> None:
    host.start_keeper()
    driver = host.driver()
    for number in range(3):
        driver.ensure_running(host.spec(number), fence=FIRST)
    driver.ensure_stopped(host.spec(2).instance_id, fence=FIRST)
    host.end_keeper(signal.SIGTERM)
    assert [host.containers(host.spec(number)) for number in range(3)] == [0, 0, 0]
    host.start_keeper()
    wait_until(
        lambda: [one.healthy for one in driver.list()] == [True, True, False],
        what="two run and one does not",
    )
    assert [host.containers(host.spec(number)) for number in range(3)] == [1, 1, 0]


def test_what_a_removed_instance_left_running_is_ended_by_the_next_keeper(host: Host) -> None:
    host.start_keeper()
    spec = host.spec()
    host.driver().ensure_running(spec, fence=FIRST)
    host.end_keeper(signal.SIGKILL)
    (host.state_dir / "instances" / spec.instance_id / "instance.json").unlink()
    host.start_keeper()
    wait_until(lambda: host.containers(spec) == 0, what="the stray has ended")


def test_a_healthy_program_that_crashes_is_started_again_at_once(host: Host) -> None:
    host.start_keeper()
    driver = host.driver()
    before = driver.ensure_running(host.spec(), fence=FIRST)
    os.kill(before.pid, signal.SIGKILL)  # PID 1 takes no other without a handler

    def is_another() -> bool:
        """One reading answers both: between two the program may have died."""
        now = driver.list()[0]
        return now.healthy and now.pid != before.pid

    wait_until(is_another, what="it runs and is healthy again")
    after = driver.status(before.instance_id)
    assert (after.restarts, after.exit_code) == (1, 128 + signal.SIGKILL)
    assert host.containers(host.spec()) == 1


def test_how_a_program_ended_and_what_it_said_last_outlives_every_keeper(host: Host) -> None:
    host.start_keeper()
    driver, spec = host.driver(), host.spec(mode="polite")
    driver.ensure_running(spec, fence=FIRST)
    driver.ensure_stopped(spec.instance_id, fence=FIRST)
    host.end_keeper(signal.SIGKILL)  # at once: before its memory is written
    host.start_keeper()
    ended = host.driver().status(spec.instance_id)
    assert (ended.state, ended.exit_code) == (ContainerState.EXITED, 7)
    assert [line.split(" ", 1)[1] for line in ended.last_lines] == [
        "out starting as polite",
        "out going",
    ]


def test_processes_ended_for_want_of_memory_are_counted_over_restarts_and_keepers(
    host: Host,
) -> None:
    host.start_keeper()
    driver, spec = host.driver(), host.spec(ceilings=Limits(1000, 16 * MIB, 64, 100 * MIB))
    driver.ensure_running(spec, fence=FIRST)
    assert driver.status(spec.instance_id).oom_kills == 0
    eater = "busybox head -c 60000000 /dev/zero | busybox tail -c 50000000"
    driver.exec(spec.instance_id, ("busybox", "sh", "-c", eater))
    # One as a rule; the kernel may end the program as well before the eater's pages are free again.
    first = driver.status(spec.instance_id).oom_kills
    assert first in {1, 2}
    if first == 1:
        end(host, spec)
    wait_until(lambda: driver.status(spec.instance_id).pid, what="it runs again")
    driver.exec(spec.instance_id, ("busybox", "sh", "-c", eater))
    both = driver.status(spec.instance_id).oom_kills
    assert both in {first + 1, first + 2}
    wait_until(lambda: driver.status(spec.instance_id).pid, what="it runs still, or again")
    pid = driver.status(spec.instance_id).pid
    facts = host.state_dir / "keeper.json"
    wait_until(
        lambda: facts.exists() and f'"pid":{pid},' in facts.read_text(),
        what="the keeper has written it down",
    )
    host.end_keeper(signal.SIGKILL)
    host.start_keeper()
    assert driver.status(spec.instance_id).oom_kills == both
    assert [one.oom_kills for one in driver.list()] == [both]
    driver.ensure_stopped(spec.instance_id, fence=FIRST)
    assert driver.ensure_running(spec, fence=FIRST).oom_kills == 0, "counted since it was asked for"


def test_a_program_that_ends_again_and_again_is_shown_as_crash_looping(host: Host) -> None:
    host.start_keeper()
    driver, spec = host.driver(), host.spec()
    driver.ensure_running(spec, fence=FIRST)
    for _ in range(3):
        end(host, spec)
        assert not driver.status(spec.instance_id).crash_looping
    os.kill(driver.status(spec.instance_id).pid, signal.SIGKILL)
    wait_until(lambda: driver.status(spec.instance_id).crash_looping, what="it is seen")
    assert driver.ensure_stopped(spec.instance_id, fence=FIRST).crash_looping is False


def end(host: Host, spec: InstanceSpec) -> None:
    """Kill an instance's program and wait until the keeper has started it again."""
    driver = host.driver()
    before = driver.status(spec.instance_id)
    os.kill(before.pid, signal.SIGKILL)

    def again() -> bool:
        now = driver.status(spec.instance_id)
        return now.restarts == before.restarts + 1 and now.pid not in {0, before.pid}

    wait_until(again, what="it runs again")


def test_a_call_without_a_keeper_says_what_to_do(host: Host) -> None:
    with pytest.raises(
        HostError, match=r"no keeper answers on .*keeper.sock.*start it with `bin/up`"
    ):
        host.driver().ensure_running(host.spec(), fence=FIRST)


def test_a_second_keeper_on_the_same_state_refuses_to_start(host: Host) -> None:
    host.start_keeper()
    second = subprocess.run(
        [sys.executable, "-m", "runtime.keeper"],
        env=host.environ,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        timeout=20,
        check=False,
    )
    assert second.returncode == 1
    assert b"another keeper serves" in second.stderr
