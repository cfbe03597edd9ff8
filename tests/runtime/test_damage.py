"""Whatever lies in place of a file a host wrote: it is the trouble of one instance at most."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.statuses import TroubleKind
from runtime.system.files import remove_anything
from runtime.system.trees import remove_tree
from tests.runtime.hosts import ROOT, Host, lack_of_store, wait_until
from workers.agents.common.boot import lock_state
from workers.agents.host.adoption import Adoption

pytestmark = pytest.mark.root

RECORD = "instances/{id}/instance.json"
# One victim for each file of an instance, by what the file is called below the host's state.
FILES = (
    RECORD,
    "instances/{id}/out",
    "instances/{id}/err",
    "instances/{id}/log",
    "instances/{id}/log.1",
    "instances/{id}/ending",
    "fences/{id}",
    "snapshots/.for/{id}",
)
OF_THE_HOST = (
    "keeper.json",
    "keeper.lock",
    "keeper.sock",
    "network.lock",
    "agent.lock",
    "epoch",
    "images/keep.json",
    "images/locks/*",
    "images/holds/*/*",
    "images/images/*/name",
    "seccomp-*.bpf",
    "seccomp-*.sum",
    "furniture/*/etc/resolv.conf",
    "furniture/*/etc/hosts",
    "furniture/*/tmp",
)


def _replaced(content: bytes) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(content)

    return act


def _cut(path: Path) -> None:
    # Of a FIFO or a link nothing can be cut off.
    content = path.read_bytes() if path.is_file() and not path.is_symlink() else b'{"spec": {'
    path.unlink(missing_ok=True)
    path.write_bytes(content[: len(content) // 2])


def _directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "something").write_text("else")


def _dangling(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/nowhere/at/all")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": _replaced(b""),
    "cut": _cut,
    "garbage": _replaced(bytes(range(256))),
    "wrong type": _replaced(b'[{"instances": 5, "boot": []}]'),
    "directory": _directory,
    "dangling link": _dangling,
}


@pytest.fixture
def damaged_host(host: Host) -> Host:
    if lack := lack_of_store():
        pytest.skip(lack)
    host.make_store()
    host.start_keeper()
    return host


def _damage(host: Host, specs: list[InstanceSpec], act: Callable[[Path], None]) -> None:
    for spec, name in zip(specs, FILES, strict=True):
        path = host.state_dir / name.format(id=spec.instance_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            remove_tree(path)
        act(path)


def _assert_the_others_are_well(host: Host, everybody: set[str], neighbour: int) -> None:
    """What an agent that has just been started, and remembers nothing, sees and can do."""
    fresh, victim, other = host.driver(), host.spec(0), host.spec(50)
    listed = {one.instance_id: one for one in fresh.list()}
    assert listed.keys() == everybody
    # Its keeper's facts are damaged, too: nobody was restarted for that.
    assert listed[other.instance_id].pid == neighbour
    assert {one for one, status in listed.items() if status.troubles} == {victim.instance_id}
    (trouble,) = listed[victim.instance_id].troubles
    assert (trouble.kind, trouble.wants_start) == (TroubleKind.DAMAGED, True)
    assert other.instance_id in {one.instance_id for one in fresh.samples()}
    assert fresh.collect_images(()) == ()
    assert Adoption(fresh, host.state_dir).known == 0
    os.close(lock_state(host.state_dir, seconds=5))
    shown = subprocess.run(
        [sys.executable, "-m", "runtime", "ps", "-a", "--json"],
        env=host.environ, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert {one["instance_id"] for one in json.loads(shown.stdout)} == everybody


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_any_file_of_an_instance_or_host_is_nobody_else_s_trouble(
    damaged_host: Host, damage: str
) -> None:
    host, act = damaged_host, DAMAGES[damage]
    driver = host.driver()
    victims = [host.spec(number, volume=f"v-{number}") for number in range(len(FILES))]
    neighbour = host.spec(50, volume="v-50")
    for spec in (*victims, neighbour):
        driver.ensure_running(spec, fence=Fence(1, 1))
    pid = driver.status(neighbour.instance_id).pid
    everybody = {spec.instance_id for spec in (*victims, neighbour)}

    host.end_keeper(9)
    _damage(host, victims, act)
    for name in OF_THE_HOST:
        for path in list(host.state_dir.glob(name)) or [host.state_dir / name]:
            remove_anything(path)
            act(path)
    host.start_keeper()

    _assert_the_others_are_well(host, everybody, pid)

    fresh = host.driver()
    for number, spec in enumerate((*victims, neighbour)):
        assert fresh.logs(spec.instance_id) is not None
        fresh.ensure_stopped(spec.instance_id, fence=Fence(1, 2), grace_seconds=0)
        status = fresh.ensure_running(spec, fence=Fence(1, 3))
        assert status.healthy, (number, status)
        assert fresh.status(spec.instance_id).fence == Fence(1, 3)
        assert host.containers(spec) == 1
    # What all starts have in common is whole again, and what runs inside is as confined as before.
    said = fresh.exec(
        neighbour.instance_id, ("sh", "-c", "cat /etc/resolv.conf; grep Seccomp: /proc/self/status")
    )
    assert said.output.split() == ["nameserver", str(host.config.address), "Seccomp:", "2"]
    assert not [one for one in host.driver().list() if one.troubles]

    _damage(host, victims, act)
    last = host.driver()
    for spec in (*victims, neighbour):
        last.ensure_absent(spec.instance_id, fence=Fence(1, 4), volume=VolumeFate.DELETE)
        assert host.traces(spec) == [], spec.instance_id
    assert host.spaces.volumes() == ()


def test_a_record_that_is_damaged_while_the_agent_runs_is_written_again_at_once(host: Host) -> None:
    host.start_keeper()
    driver, spec = host.driver(), host.spec()
    driver.ensure_running(spec, fence=Fence(1, 1))
    path = host.state_dir / RECORD.format(id=spec.instance_id)
    whole = path.read_bytes()
    for act in DAMAGES.values():
        act(path)
        wait_until(lambda: (driver.list(), path.is_file() and path.read_bytes() == whole)[1])
    (status,) = driver.list()
    assert [one.kind for one in status.troubles] == [TroubleKind.DAMAGED]
    assert not status.troubles[0].wants_start
    assert status.healthy


def test_an_instance_whose_directory_is_gone_runs_on_is_named_and_can_be_started_and_removed(
    host: Host,
) -> None:
    host.start_keeper()
    spec, other = host.spec(0), host.spec(1)
    for one in (spec, other):
        host.driver().ensure_running(one, fence=Fence(1, 1))
    remove_tree(host.state_dir / "instances" / spec.instance_id)
    listed = {one.instance_id: one for one in host.driver().list()}
    assert [one.kind for one in listed[spec.instance_id].troubles] == [TroubleKind.DAMAGED]
    assert not listed[other.instance_id].troubles
    assert host.driver().ensure_running(spec, fence=Fence(1, 2)).healthy
    assert host.containers(spec) == 1
    remove_tree(host.state_dir / "instances" / spec.instance_id)
    host.driver().ensure_absent(spec.instance_id, fence=Fence(1, 3), volume=VolumeFate.DELETE)
    assert host.traces(spec) == []
