"""Days of PlanetLab (CoMon) as the simulator reads them: 288 readings in percent for each machine.

A day is a file YYYYMMDD.csv with a line "name,readings" per machine, or, as the traces are published, a
folder YYYYMMDD with a file per machine and a reading per line; machines go by the bytes of their names.
The traces carry no licence and are not part of the product: they are read from a folder given by name.
Cite Beloglazov and Buyya, CCPE 24(13), 2012, and Park and Pai, CoMon, ACM OSR 2006.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bench.research.cloudsim import STEPS, Floats, Ints, Move, World, watts
from bench.research.sums import loads_by_host
from workers.scheduler.demand_vector import CPU_MEAN, CPU_SWING, DEMAND_WIDTH, F32, Rules
from workers.scheduler.rebalancing.plan import RebalanceLimits, plan
from workers.scheduler.types import Instances, PoolView

_MIB = 1024 * 1024
RULES = Rules(overload_chance=0.05, correlation=0.05, shares=(1.0, 1.0, 1.0, 1.0))
# Others move every machine 25 times in the one day there is: an hour's rest here, not a week's.
LIMITS = RebalanceLimits(cooldown_seconds=3600.0, rest_seconds=3600.0, cold_below=0.8, fill_to=0.9)


def days(folder: Path) -> tuple[str, ...]:
    """The days that are there, by name."""
    names = {place.stem for place in folder.glob("[0-9]" * 8 + "*") if place.suffix in {".csv", ""}}
    return tuple(sorted(name for name in names if len(name) == len("YYYYMMDD")))


def read_day(folder: Path, day: str) -> Floats:
    """Shares from 0 to 1, one row per machine; ValueError names a machine that has no whole day."""
    rows = []
    for place, values in _readings(folder, day):
        if len(values) != STEPS:
            raise ValueError(f"{place}: {len(values)} readings where a day has {STEPS}")
        rows.append([float(value) / 100 for value in values])
    return np.array(rows)


def _readings(folder: Path, day: str) -> Iterator[tuple[str, list[str]]]:
    """Where a machine's readings are, and the readings."""
    if (folder / day).is_dir():
        for file in sorted((folder / day).iterdir(), key=lambda one: one.name.encode()):
            yield str(file), file.read_text().split()
        return
    file = folder / f"{day}.csv"
    for number, line in enumerate(file.read_text().splitlines(), 1):
        yield f"{file}, line {number}", line.split(",")[1:]


@dataclass(slots=True)
class Estimates:
    """What each machine is expected to use, from nothing but its readings so far.

    Mean and variance decay by half in half_life readings. There is no day before the first one, so a
    machine begins with the variance among machines of its kind, worth `prior` readings.
    """

    half_life: float = 12.0
    prior: float = 6.0
    _weight: float = 0.0
    _first: Floats = field(default_factory=lambda: np.zeros(0))
    _sum: Floats = field(default_factory=lambda: np.zeros(0))
    _squares: Floats = field(default_factory=lambda: np.zeros(0))

    def take(self, asked: Floats, kinds: Floats) -> F32:
        """A reading; the demands after it."""
        if not len(self._sum):
            self._sum, self._squares = np.zeros(len(asked)), np.zeros(len(asked))
            self._first = np.zeros(len(asked))
            for kind in np.unique(kinds):
                self._first[kinds == kind] = asked[kinds == kind].var()
        decay = 0.5 ** (1 / self.half_life)
        self._weight = self._weight * decay + 1
        self._sum = self._sum * decay + asked
        self._squares = self._squares * decay + np.square(asked)
        mean = self._sum / self._weight
        spread = np.maximum(self._squares / self._weight - np.square(mean), 0.0)
        variance = (self._first * self.prior + spread * self._weight) / (self.prior + self._weight)
        demands = np.zeros((len(asked), DEMAND_WIDTH), np.float32)
        demands[:, CPU_MEAN] = mean[:, None]
        demands[:, CPU_SWING] = np.sqrt(variance)[:, None]
        return demands


@dataclass(slots=True)
class Rebalancing:
    """The product's rebalancing as a policy of the model: MIPS are millicores, a host costs its watts.

    moves_per_day: of each machine; a day's moves are at hand at the start, and come back evenly. RULES
    let a host be short in one reading of twenty, which is about what the policies compared with are
    (their SLATAH is 5 to 6 %), and plan with all of its processor, as they do. LIMITS empty hosts early:
    a move costs seconds of copying here, a host that is on costs its watts every hour.
    """

    rules: Rules = RULES
    limits: RebalanceLimits = LIMITS
    moves_per_day: float = 2.0
    estimates: Estimates = field(default_factory=Estimates)
    _budget: float = 0.0
    _moved: Floats = field(default_factory=lambda: np.zeros(0))

    def __call__(self, world: World) -> Sequence[Move]:
        """The moves of one reading."""
        day = self.moves_per_day * len(world.traces)
        if not len(self._moved):
            self._moved = np.full(len(world.traces), -np.inf)
            self._budget = day
        self._budget = min(day, self._budget + day / STEPS)
        demands = self.estimates.take(world.requested, world.vm_mips)
        limits = replace(self.limits, moves=int(self._budget))
        found = plan(
            _pool(world, demands),
            _instances(world, demands, world.now - self._moved),
            limits,
            self.rules,
            host_costs=watts(world.kind, np.ones(world.hosts)),
        )
        self._budget -= len(found.moves)
        moves = [Move(int(move.instance), move.target) for move in found.moves]
        self._moved[[move.vm for move in moves]] = world.now
        return moves


def _instances(world: World, demands: F32, rested: Floats) -> Instances:
    here = np.flatnonzero(world.host >= 0)
    return Instances(
        ids=tuple(map(str, here.tolist())),
        host=world.host[here],
        demands=demands[here],
        move_cost=(world.vm_ram[here] * _MIB).astype(np.float32),
        rested=rested[here].astype(np.float32),
    )


def _pool(world: World, demands: F32) -> PoolView:
    count = world.hosts
    zeros: Ints = np.zeros(count, np.int64)
    offered = np.zeros((count, 4))
    offered[:, 0] = world.total_mips
    offered[:, 1:3] = 1.0  # memory and disk do not bind in the model
    return PoolView(
        ids=np.arange(count),
        names=tuple(f"host {host}" for host in range(count)),
        is_open=np.ones(count, np.bool_),
        is_seen=np.ones(count, np.bool_),
        offered=offered,
        load=loads_by_host(demands, world.host, count),
        busy=np.full((count, 2), -1.0, np.float32),
        starting=zeros,
        instances=np.bincount(world.host[world.host >= 0], minlength=count),
        most_instances=np.full(count, 1000),
    )
