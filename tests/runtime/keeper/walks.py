"""Random walks of a keeper in a yard: what may happen, and what is true at every moment."""

import json
import random
from threading import Event as Waiter
from typing import cast

import pytest

from runtime.bundle import Desired
from runtime.errors import DataMissingError, HostError, InputError
from runtime.keeper.keeper import Keeper
from runtime.keeper.loop import Loop
from runtime.keeper.renewing import handover
from runtime.keeper.starting.launch import Launcher
from runtime.keeper.starting.start_queue import STARTS_AT_ONCE
from runtime.keeper.supervised import Listener, Phase
from tests.runtime.keeper.yard import Ear, Yard

INSTANCES = tuple(f"ins_walk00000{number}" for number in range(6))
_LINES: tuple[dict[str, object], ...] = (
    {"pid": 0, "timings_ms": {}},
    {"pid": 0, "timings_ms": {}},
    {"pid": 0, "timings_ms": {}},
    {"code": HostError.code, "message": "it did not start"},
    {"code": InputError.code, "message": "it cannot start"},
    {"code": DataMissingError.code, "message": "its data are missing"},
    {},
)


class Walk:
    """One random walk, the same for the same seed."""

    def __init__(self, yard: Yard, seed: int) -> None:
        self.yard = yard
        self.dice = random.Random(seed)
        self.waiter = Waiter()
        self.ears: list[Ear] = []
        self.begin()

    def begin(self) -> None:
        """A keeper that finds what the one before has left."""
        self.loop = Loop(clock=lambda: self.yard.now)
        self.keeper = Keeper(self.loop, cast(Launcher, self.yard))
        self.keeper.resume()
        self.yard.repair_routes()

    # What can happen --------------------------------------------------------------------------

    def start(self, one: str) -> None:
        self.yard.record(one, Desired.RUNNING)
        self.keeper.start(one, self.ear(), keep_layers=self.dice.random() < 0.5)

    def stop(self, one: str) -> None:
        self.yard.record(one, Desired.STOPPED)
        self.keeper.stop(one, self.ear(), grace_seconds=self.dice.choice((0.0, 5.0)))

    def confirm(self, one: str) -> None:
        self.keeper.confirm(one)

    def forget(self, one: str) -> None:
        phase = self.phases().get(one)
        if phase in (None, Phase.ENDED):
            self.keeper.forget(one)
            assert one not in self.phases()
        else:
            with pytest.raises(HostError, match="stop it before it is forgotten"):
                self.keeper.forget(one)
            assert self.phases()[one] is phase

    def finish_launch(self, one: str) -> None:
        for pid, (whose, _) in list(self.yard.launchers.items()):
            if whose == one:
                self.yard.launched(pid, dict(self.dice.choice(_LINES)))

    def fall(self, one: str) -> None:
        if one not in self.yard.unkillable:
            for pid in self.yard.pids(one):
                self.yard.end(pid)

    def wait_in_the_kernel(self, one: str) -> None:
        self.yard.unkillable.add(one)

    def come_back_from_the_kernel(self, one: str) -> None:
        self.yard.unkillable.discard(one)

    def pass_time(self, _one: str) -> None:
        self.yard.now += self.dice.choice((0.01, 0.3, 0.6, 12.0, 40.0, 150.0, 1000.0))

    def kill_keeper(self, _one: str) -> None:
        if self.dice.random() < 0.5:  # else what it knew is as old as its last half second
            self.keeper.remember()
        self.yard.keeper_is_killed()
        self.ears.clear()
        self.begin()

    def renew_keeper(self, _one: str) -> None:
        """New code in the same process; the upgrade waits until no launcher is left."""
        if not self.keeper.starts.is_quiet:
            return
        numbers: dict[Listener, int] = {one: number for number, one in enumerate(self.ears)}
        state = json.loads(json.dumps(self.keeper.hand_over(lambda one: numbers[one])))
        for one in state["instances"].values():
            Phase(one["phase"])
        self.loop = Loop(clock=lambda: self.yard.now)
        self.keeper = Keeper(self.loop, cast(Launcher, self.yard))
        self.keeper.take_over(cast(handover.State, state), [*self.ears])

    # What is looked at -------------------------------------------------------------------------

    def ear(self) -> Ear:
        self.ears.append(Ear())
        return self.ears[-1]

    def phases(self) -> dict[str, Phase]:
        return {str(one["instance_id"]): Phase(str(one["phase"])) for one in self.keeper.status()}

    def turn(self) -> None:
        """Let the keeper do what is to be done now."""
        for _ in range(3):
            self.yard.notice_killed_launchers()
            self.keeper.reap()
            self.loop.turn(0.0)
        self.look()

    def go(self, *seconds: float) -> None:
        """Let time pass, and the keeper do what is due."""
        for one in seconds:
            self.yard.now += one
            self.turn()

    def look(self) -> None:
        """What is true at every moment."""
        shown = {str(one["instance_id"]): one for one in self.keeper.status()}
        phases = self.phases()
        assert list(phases.values()).count(Phase.STARTING) <= STARTS_AT_ONCE
        for one, phase in phases.items():
            launchers = {pid for pid, (whose, _) in self.yard.launchers.items() if whose == one}
            pids = {*self.yard.pids(one)} - launchers
            if phase is Phase.ENDED:
                assert pids == set(), f"{one} has ended, and {pids} run"
                assert one not in self.yard.routes, f"{one} has ended, and a route leads to it"
            if phase is Phase.RUNNING:
                assert pids <= {shown[one]["pid"]}, f"{one} runs twice: {pids}"
            if phase is Phase.QUEUED:
                assert pids == set(), f"{one} is to start beside {pids}"
            if phase is Phase.STUCK:
                assert "cannot_end" in str(shown[one]["troubles"])

    def step(self) -> None:
        """Something happens."""
        common = (self.start, self.stop, self.confirm, self.finish_launch, self.pass_time)
        rare = (
            self.forget,
            self.fall,
            self.wait_in_the_kernel,
            self.come_back_from_the_kernel,
            self.kill_keeper,
            self.renew_keeper,
        )
        what = self.dice.choice((*common, *common, *rare))
        one = self.dice.choice(INSTANCES)
        if what == self.confirm and one not in self.phases():
            return
        what(one)
        self.turn()

    def end(self) -> None:
        """Everything is asked to end, and does."""
        self.yard.unkillable.clear()
        for one in INSTANCES:
            self.stop(one)
        for _ in range(2000):
            self.yard.now += 0.05
            self.turn()
            if all(phase is Phase.ENDED for phase in self.phases().values()):
                break
            self.waiter.wait(0.001)
        assert set(self.phases().values()) == {Phase.ENDED}, self.phases()
        assert self.yard.alive() == {}
        assert self.yard.launchers == {}
        assert self.yard.routes == set()
        assert [one for one in self.ears if not one.told] == [], "somebody waits for ever"
        for one in INSTANCES:
            self.keeper.forget(one)
        assert self.keeper.status() == []
