"""A keeper that executes new code in place: no container, log line or exit status is lost."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runtime.errors import HostError
from runtime.keeper import logs
from runtime.keeper.client import KeeperClient
from runtime.specs import Fence
from runtime.statuses import ContainerState
from tests.runtime.hosts import ROOT, Host, wait_until

pytestmark = pytest.mark.root

FIRST = Fence(1, 1)
# At most some 40 KB a second with its stamps: below what is left out.
_COUNTS = (
    "busybox httpd -p $PORT -h /www; i=0; while :; do j=0;"
    " while [ $j -lt 20 ]; do echo n $i; i=$((i+1)); j=$((j+1)); done; busybox usleep 20000; done"
)


def test_containers_log_lines_and_exit_codes_go_over_to_the_new_code(host: Host) -> None:
    host.start_keeper()
    keeper = host.process
    assert keeper
    driver, counting, ending = host.driver(), host.spec(0), host.spec(1, mode="polite")
    driver.ensure_running(counting, fence=FIRST)
    before = driver.ensure_running(ending, fence=FIRST)
    out = host.state_dir / "instances" / counting.instance_id / "out"
    writer = subprocess.Popen(
        ["/bin/busybox", "sh", "-c", _COUNTS.split(";", 1)[1]], stdout=os.open(out, os.O_WRONLY)
    )
    client = KeeperClient(host.config.keeper_socket)
    try:
        with client.call("stop", id=ending.instance_id, grace=20.0) as stopping:
            # The program gets its signal under the old code and ends under whichever is there then.
            for _ in range(3):
                assert client.ask("upgrade", timeout=60)["pid"] == keeper.pid
            news = stopping.next(30)
        assert news
        assert news["exit_code"] == 7, "a real exit code: it stayed our child"
    finally:
        writer.kill()
        writer.wait()
    assert driver.status(ending.instance_id).state is ContainerState.EXITED
    assert driver.status(counting.instance_id).restarts == 0
    assert before.pid
    numbers = numbers_of(host, counting.instance_id)
    assert numbers[:2] == [0, 1]
    assert numbers == list(range(len(numbers)))
    after = driver.ensure_running(ending, fence=FIRST)
    assert after.healthy, "the new code starts containers"
    assert b"executing the new code" in (host.state_dir / "keeper.log").read_bytes()


def numbers_of(host: Host, instance_id: str) -> list[int]:
    from runtime.bundle import InstanceDirectory

    lines = logs.tail(InstanceDirectory.of(host.state_dir, instance_id), 1_000_000)
    return [int(line.split()[-1]) for line in lines if " out n " in line]


def test_a_program_that_ends_in_the_middle_of_an_upgrade_is_seen_and_started_again(
    host: Host,
) -> None:
    host.start_keeper()
    driver = host.driver()
    specs = [host.spec(number) for number in range(4)]
    pids = [driver.ensure_running(spec, fence=FIRST).pid for spec in specs]
    client = KeeperClient(host.config.keeper_socket)
    asking = threading.Thread(target=lambda: client.ask("upgrade", timeout=60))
    asking.start()
    for pid in pids:  # spread over the check of the code, its start and afterwards
        asking.join(0.15)
        os.kill(pid, 9)
    asking.join()

    def all_again() -> bool:
        now = {one.instance_id: one for one in driver.list()}
        return all(
            now[spec.instance_id].healthy and now[spec.instance_id].pid not in {0, pid}
            for spec, pid in zip(specs, pids, strict=True)
        )

    wait_until(all_again, seconds=20, what="all run again")
    assert [(one.restarts, one.exit_code) for one in driver.list()] == [(1, 137)] * 4


def test_new_code_that_is_broken_leaves_the_old_keeper_as_it_was(
    host: Host, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    for package in ("runtime", "settings"):
        shutil.copytree(
            ROOT / package, code / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    host.start_keeper(cwd=code)
    driver = host.driver()
    before = driver.ensure_running(host.spec(), fence=FIRST)
    with (code / "runtime" / "keeper" / "supervised.py").open("a") as kept:
        kept.write("\nraise RuntimeError('spilled coffee')\n")
    done = subprocess.run(
        [sys.executable, "-m", "runtime", "keeper-upgrade"],
        env=host.environ, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "the old keeper goes on: the new code is not fit" in done.stderr
    assert "spilled coffee" in done.stderr
    after = driver.status(before.instance_id)
    assert (after.pid, after.healthy) == (before.pid, True)
    with pytest.raises(HostError, match="not fit"):
        KeeperClient(host.config.keeper_socket).ask("upgrade", timeout=60)
