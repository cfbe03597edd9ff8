"""The machine starts anew: what should run runs again and answers, by what the host's own disk says.

A reboot is made of its parts: every process of the host dies at once, and everything the kernel held
(namespaces with their interfaces, rules, cgroups, mounts) and the boot's own name are gone. No agent
and no control plane are there while the keeper starts.
"""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from runtime import network
from runtime.disk import loop
from runtime.specs import Fence, InstanceSpec
from runtime.statuses import ContainerState
from tests.runtime.hosts import Host, fetch, lack_of_store, wait_until
from tests.support import network_parts

pytestmark = pytest.mark.root

FIRST = Fence(1, 1)


def reboot(host: Host, specs: list[InstanceSpec], *, memory: str | None = None) -> None:
    """Take from a host everything that a reboot takes, and start its keeper.

    memory: what a power cut left of the keeper's own file, None for what it wrote last.
    """
    host.end_keeper(signal.SIGKILL)
    for spec in specs:
        for pid in host.cgroups.pids(spec.instance_id):
            os.kill(pid, signal.SIGKILL)
    host.cgroups.remove_scope()
    network.remove_host(host.config)
    assert network_parts.listing(host.config).empty
    assert sum(host.containers(spec) for spec in specs) == 0
    # The name of the boot is the kernel's; what was written under another name is an earlier boot's.
    path = host.state_dir / "keeper.json"
    if memory is None:
        memory = json.dumps({**json.loads(path.read_text()), "boot": "0000-another-boot"})
    path.write_text(memory)
    loop.release(host.state_dir)
    # The socket's file is on the disk and stays, with nobody behind it.
    assert host.config.keeper_socket.exists()
    host.start_keeper()


def answers(host: Host, spec: InstanceSpec) -> bool:
    """Whether the instance answers at its published port, as edges reach it."""
    return fetch(str(host.config.address), spec.published_port).startswith(b"HTTP/1.1 200")


def test_after_a_reboot_all_that_should_run_answers_at_its_port_and_what_was_stopped_stays_so(
    host: Host,
) -> None:
    if not lack_of_store():
        host.make_store()
    host.start_keeper()
    driver = host.driver()
    # More than the keeper starts at a time, one with a volume, one stopped, one that had crashed.
    count = 2 * (os.cpu_count() or 1) + 3
    specs = [host.spec(number, volume="data" if number == 0 else "") for number in range(count)]
    before = {spec.instance_id: driver.ensure_running(spec, fence=FIRST) for spec in specs}
    stopped, crashed = specs[1], specs[2]
    driver.exec(specs[0].instance_id, ("sh", "-c", "echo kept >/data/note; echo kept >/tmp/note"))
    os.kill(before[crashed.instance_id].pid, signal.SIGKILL)
    wait_until(lambda: driver.status(crashed.instance_id).restarts == 1, what="it is started again")
    driver.ensure_stopped(stopped.instance_id, fence=FIRST)
    ending = driver.status(stopped.instance_id)
    time.sleep(0.7)  # the keeper writes its memory half a second after a change

    reboot(host, specs)

    wanted = [spec for spec in specs if spec is not stopped]
    wait_until(lambda: all(answers(host, one) for one in wanted), seconds=60, what="all answer")
    assert [host.containers(spec) for spec in specs] == [int(spec in wanted) for spec in specs]
    driver = host.driver()  # the agent comes later, and finds everything done
    wait_until(lambda: sum(one.healthy for one in driver.list()) == len(wanted), what="all healthy")
    after = {one.instance_id: one for one in driver.list()}
    assert after[stopped.instance_id].state is ContainerState.EXITED
    assert after[stopped.instance_id].exit_code == ending.exit_code
    assert not answers(host, stopped)
    assert after[crashed.instance_id].restarts == 1
    kept = driver.exec(specs[0].instance_id, ("sh", "-c", "cat /data/note; ls /tmp"))
    assert kept.output == "kept\n"
    # A repeat of what control had asked for before changes nothing.
    for spec in wanted:
        again = driver.ensure_running(spec, fence=FIRST)
        assert again.pid == after[spec.instance_id].pid


def test_a_process_number_of_the_boot_before_is_not_taken_for_the_container(host: Host) -> None:
    """The same number may belong to somebody else now; it must not be signalled or waited for."""
    host.start_keeper()
    spec = host.spec()
    host.driver().ensure_running(spec, fence=FIRST)
    time.sleep(0.7)
    memory = host.state_dir / "keeper.json"
    host.end_keeper(signal.SIGKILL)
    content = json.loads(memory.read_text())
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    content["instances"][spec.instance_id].update(pid=os.getpid(), ticks=ticks)
    memory.write_text(json.dumps(content))
    reboot(host, [spec])
    wait_until(lambda: answers(host, spec), seconds=30, what="it answers")
    assert host.driver().status(spec.instance_id).pid != os.getpid()
    host.driver().ensure_stopped(spec.instance_id, fence=FIRST)


def test_when_the_keeper_s_memory_is_lost_too_all_runs_and_is_cared_for(host: Host) -> None:
    """It is not forced to the disk, so a power cut may leave it empty; then what should run was well."""
    host.start_keeper()
    spec = host.spec()
    host.driver().ensure_running(spec, fence=FIRST)
    reboot(host, [spec], memory="")
    driver = host.driver()
    wait_until(lambda: driver.list()[0].healthy, seconds=30, what="it is healthy")
    os.kill(driver.status(spec.instance_id).pid, signal.SIGKILL)
    wait_until(lambda: driver.status(spec.instance_id).restarts == 1, what="its end is noticed")
    wait_until(lambda: answers(host, spec), seconds=30, what="it answers again")
