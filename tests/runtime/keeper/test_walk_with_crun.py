"""One walk with real containers: starts, stops, falls, kills of the keeper, new code; nothing is left."""

import os
import random
import signal
from contextlib import suppress

import pytest

from runtime.errors import RuntimeCoreError
from runtime.keeper.client import KeeperClient
from runtime.keeper.supervised import Phase
from runtime.specs import Fence, VolumeFate
from tests.runtime.hosts import Host, wait_until

pytestmark = pytest.mark.root

FIRST = Fence(1, 1)


class Walk:
    """What may happen to two instances of a host, by chance; the same for the same seed."""

    def __init__(self, host: Host, seed: int) -> None:
        self.host = host
        self.dice = random.Random(seed)
        self.specs = [host.spec(number, volume=f"v-{number}") for number in range(2)]
        self.keeper = KeeperClient(host.config.keeper_socket)
        self.driver = host.driver()
        self.happens = [self.run, self.fall, self.kill_keeper, self.ask_start, self.ask_stop]

    def run(self) -> None:
        with suppress(RuntimeCoreError):
            self.driver.ensure_running(self.dice.choice(self.specs), fence=FIRST)

    def fall(self) -> None:
        pids = [pid for one in self.specs for pid in self.host.cgroups.pids(one.instance_id)]
        with suppress(ProcessLookupError, IndexError):
            os.kill(self.dice.choice(pids), signal.SIGKILL)

    def kill_keeper(self) -> None:
        self.host.end_keeper(signal.SIGKILL)
        self.host.start_keeper()

    def ask_start(self) -> None:
        """As a client that goes away before it is answered."""
        with self.keeper.call(
            "start", id=self.dice.choice(self.specs).instance_id, keep_layers=True
        ):
            pass

    def ask_stop(self) -> None:
        with self.keeper.call("stop", id=self.dice.choice(self.specs).instance_id, grace=1.0):
            pass


def test_a_walk_with_kills_of_the_keeper_leaves_no_process_cgroup_or_namespace(host: Host) -> None:
    host.start_keeper()
    walk = Walk(host, seed=9)
    for one in walk.specs:
        walk.driver.ensure_running(one, fence=FIRST)
    for _ in range(4):
        walk.dice.shuffle(walk.happens)
        for what in walk.happens:
            what()
            assert {one["phase"] for one in walk.keeper.status().values()} <= set(Phase)
            assert [one for one in walk.specs if host.containers(one) > 1] == []
    for one in walk.specs:
        assert walk.driver.ensure_running(one, fence=FIRST).healthy
        walk.driver.ensure_absent(one.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
    wait_until(lambda: [*map(host.traces, walk.specs)] == [[], []], what="nothing is left")
    assert walk.keeper.status() == {}
    assert b" failed: " not in (host.state_dir / "keeper.log").read_bytes()
