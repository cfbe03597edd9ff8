"""A process that does not die keeps nobody waiting but its own instance."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from runtime.keeper.ending import clearing
from runtime.keeper.ending.clearing import Clearing, ClearingHooks
from runtime.keeper.loop import Loop
from runtime.specs import Fence
from tests.runtime.hosts import Host, wait_until

pytestmark = pytest.mark.root

INSTANCE = "ins_stuck000000"


@pytest.fixture
def victim(host: Host) -> Iterator[int]:
    """A process in the cgroup of an instance."""
    enter = (
        "from runtime.cgroup import Cgroups; from runtime.config import host_config; import os, time\n"
        f"Cgroups.detect(host_config(os.environ)).enter('{INSTANCE}'); print(1, flush=True)\n"
        "time.sleep(1000)"
    )
    argv = [sys.executable, "-c", enter]
    with subprocess.Popen(argv, env=host.environ, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.kill()
        process.wait()


def run(loop: Loop, seconds: float) -> None:
    loop.after(seconds, loop.stop)
    loop.run()


def test_a_process_that_takes_no_signal_is_named_waited_for_and_never_blocks_the_loop(
    host: Host, victim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroups, loop = host.cgroups, Loop()
    # As of a process in an uninterruptible wait: the signal is sent, and nothing comes of it.
    monkeypatch.setattr(cgroups, "_signal", lambda *_: None)
    monkeypatch.setattr(clearing, "STUCK_SECONDS", 0.3)
    told: list[tuple[str, str]] = []
    done: list[str] = []
    ticks: list[float] = []
    hooks = ClearingHooks(lambda _one: (), lambda one, why: told.append((one, why)), done.append)
    clear = Clearing(loop, cgroups, hooks)
    clear.begin(INSTANCE, removes=True)
    clear.begin(INSTANCE)
    clear.begin("ins_other000000")

    def tick() -> None:
        ticks.append(time.monotonic())
        loop.after(0.05, tick)

    tick()
    run(loop, 2.0)
    assert done == ["ins_other000000"]
    assert told == [(INSTANCE, f"processes ({victim},) do not die; they wait in the kernel")]
    # Nothing but the tries themselves takes the loop's time.
    assert len(ticks) > 15
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not cgroups.pids(INSTANCE))
    run(loop, 3.0)
    assert done == ["ins_other000000", INSTANCE]
    assert len(told) == 1
    assert INSTANCE not in cgroups.instances()


def test_a_keeper_that_finds_a_stray_at_its_start_ends_it_while_it_serves_the_others(
    host: Host, victim: int
) -> None:
    host.start_keeper()
    assert host.driver().ensure_running(host.spec(), fence=Fence(1, 1)).healthy
    wait_until(lambda: victim not in host.cgroups.pids(INSTANCE))
