"""A container that burns processor time is marked by its keeper, and weighs what its plan says after it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from runtime.specs import Fence, InstanceSpec
from runtime.units import MIB, Limits
from tests.runtime.hosts import Host, wait_until

pytestmark = pytest.mark.root

FIRST = Fence(1, 1)
# They burn until the test has seen it.
_LOOP = "busybox timeout 60 busybox sh -c 'while [ ! -e /tmp/enough ]; do :; done'"
_BURN = ("busybox", "sh", "-c", f"{_LOOP} & {_LOOP}; wait")


def test_a_burner_is_marked_takes_other_ceilings_and_is_unmarked_once_he_rests(host: Host) -> None:
    host.start_keeper()
    driver, spec = host.driver(), host.spec(ceilings=Limits(2000, 64 * MIB, 32, 90 * MIB))
    driver.ensure_running(spec, fence=FIRST)
    if not host.cgroup_files(spec, "cpu.idle"):
        pytest.skip("this kernel has no cpu.idle (Linux 5.15)")
    _outweigh_the_machine(host, spec)
    with ThreadPoolExecutor(1) as pool:
        burning = pool.submit(driver.exec, spec.instance_id, _BURN, timeout_seconds=70)
        wait_until(lambda: _is_marked(host, spec), seconds=60, what="it is marked")
        smaller = replace(spec, ceilings=replace(spec.ceilings, cpu_millis=1500))
        driver.ensure_running(smaller, fence=FIRST)
        enough = ("busybox", "touch", "/tmp/enough")
        assert driver.exec(spec.instance_id, enough, timeout_seconds=20).exit_code == 0
        burning.result()
    wait_until(lambda: not _is_marked(host, spec), what="it is unmarked")
    found = host.cgroup_files(spec, "cpu.shares", "cpu.weight")
    assert {one: file.read_text().strip() for one, file in found.items()} in (
        {"cpu.shares": "1536"},
        {"cpu.weight": "59"},
    )


def _outweigh_the_machine(host: Host, spec: InstanceSpec) -> None:
    """Who gets next to nothing of a busy machine burns nothing: this host's scope comes first."""
    for file, most in (("cpu.shares", "262144"), ("cpu.weight", "10000")):
        for own in host.cgroup_files(spec, file).values():
            (own.parent.parent / file).write_text(most)


def _is_marked(host: Host, spec: InstanceSpec) -> bool:
    return host.cgroup_files(spec, "cpu.idle")["cpu.idle"].read_text().strip() == "1"
