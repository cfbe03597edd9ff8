"""The host and power model of CloudSim 3.0.3, rebuilt, so that published consolidation results compare.

Virtual machines ask for processor as a recorded trace says; a host gives what it has, in proportion when
it has too little. A machine that moves counts on its source with a tenth less than it asks for, and with
a tenth of it on its target, until its memory is copied. What is counted:

- energy: watts by load from two measured servers, linear between readings; an empty host uses none;
- SLATAH: the share of time of hosts in use during which they gave less than was asked for (a machine
  that is moving in counts as asked for in full and given a tenth: moves alone make such time);
- PDM: processor lost by machines while they move, as a share of all that was asked for;
- SLAV: the product of the two.

Three habits of the released simulator are kept, because its figures contain them: memory binds only
until the first reading, a machine that asks for nothing at a reading is gone for good, and the first
interval costs no energy. Facts of the model are from CloudSim (Calheiros et al., 2011; Beloglazov and
Buyya, 2012); no code is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

STEP_SECONDS = 300.0
STEPS = 288
HOSTS = 800
# Two kinds of hosts in turn: HP ProLiant ML110 G4 and G5, two cores each.
HOST_CORE_MIPS = (1860.0, 2660.0)
HOST_CORES = 2
HOST_RAM_MB = 4096
HOST_WATTS = np.array(
    [
        [86, 89.4, 92.6, 96, 99.5, 102, 106, 108, 112, 114, 117],
        [93.7, 97, 101, 105, 110, 116, 121, 125, 129, 133, 135],
    ]
)
# Four kinds of machines, as many of each, one kind after the other.
VM_MIPS = (2500.0, 2000.0, 1000.0, 500.0)
VM_RAM_MB = (870, 1740, 1740, 613)
# Half of a host's gigabit copies memory.
COPY_MB_PER_SECOND = 62.5
# The released simulator reads its traces this long after every full step.
_OFFSET_SECONDS = 0.1
_OUT, _IN = 0.9, 0.1


@dataclass(frozen=True, slots=True)
class Move:
    """A machine that is to go to another host."""

    vm: int
    target: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a day cost. slatah, pdm and slav are shares, not percent."""

    energy_kwh: float
    migrations: int
    slatah: float
    pdm: float
    slav: float
    shutdowns: int
    mean_hosts: float


@dataclass(slots=True, eq=False)
class World:
    """Machines on hosts at one moment. host: where each machine is, -1 for gone. order: by host, in the
    order of arrival. requested: MIPS asked for now. used: MIPS in use per host."""

    traces: Floats
    host: Ints
    hosts: int = HOSTS
    now: float = _OFFSET_SECONDS
    vm_mips: Floats = field(init=False)
    vm_ram: Floats = field(init=False)
    core_mips: Floats = field(init=False)
    total_mips: Floats = field(init=False)
    kind: Ints = field(init=False)
    requested: Floats = field(init=False)
    used: Floats = field(init=False)
    order: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        vm_kind = vm_kinds(len(self.traces))
        self.vm_mips = np.array(VM_MIPS)[vm_kind]
        self.vm_ram = np.array(VM_RAM_MB, np.float64)[vm_kind]
        self.kind = np.arange(self.hosts) % len(HOST_CORE_MIPS)
        self.core_mips = np.array(HOST_CORE_MIPS)[self.kind]
        self.total_mips = self.core_mips * HOST_CORES
        self.requested = np.zeros(len(self.traces))
        self.used = np.zeros(self.hosts)
        self.order = [[] for _ in range(self.hosts)]
        for vm, host in enumerate(self.host.tolist()):
            if host >= 0:
                self.order[host].append(vm)

    @property
    def step(self) -> int:
        """How many readings of the trace have been taken."""
        return int(self.now // STEP_SECONDS)

    def usage_at(self, seconds: float) -> Floats:
        """The share of its own processor each machine asks for, linear between readings."""
        step, rest = divmod(seconds, STEP_SECONDS)
        first = self.traces[:, int(step)]
        then = self.traces[:, min(int(step) + 1, STEPS)]
        shares: Floats = first + (then - first) * (rest / STEP_SECONDS)
        return shares


Policy = Callable[[World], Sequence[Move]]


def vm_kinds(count: int) -> Ints:
    """Four equal blocks, in the order of the trace."""
    return np.arange(count) // max(1, -(-count // len(VM_MIPS)))


def watts(kind: Ints, load: Floats) -> Floats:
    """Of hosts of these kinds at this load (0 to 1); an idle host that is on, too."""
    tenths = np.clip(load, 0.0, 1.0) * 10
    below = np.minimum(tenths.astype(np.int64), 9)
    low = HOST_WATTS[kind, below]
    found: Floats = low + (HOST_WATTS[kind, below + 1] - low) * (tenths - below)
    return found


def replay(traces: Floats, host: Ints, policy: Policy) -> Outcome:
    """A day: machines on hosts as given, the policy asked at every reading."""
    world = World(_with_end(traces), host.copy())
    meter = _Meter(world)
    for step in range(1, STEPS):
        meter.read(step * STEP_SECONDS + _OFFSET_SECONDS)
        moves = policy(world)
        meter.begin(moves)
        for seconds in sorted({_copy_seconds(world, move.vm) for move in moves}):
            meter.read(step * STEP_SECONDS + _OFFSET_SECONDS + seconds)
            meter.end([move for move in moves if _copy_seconds(world, move.vm) == seconds])
    return meter.outcome()


def _with_end(traces: Floats) -> Floats:
    return np.concatenate([traces[:, :STEPS], traces[:, STEPS - 1 : STEPS]], axis=1)


def _copy_seconds(world: World, vm: int) -> float:
    return float(world.vm_ram[vm]) / COPY_MB_PER_SECOND


class _Meter:
    """Reads the world at moments and adds up what lies between them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._moving: list[Move] = []
        vms, hosts = len(world.traces), world.hosts
        # Of the last reading: what machines and hosts were given and asked for.
        self._given, self._asked = np.zeros(vms), np.zeros(vms)
        self._is_moving, self._is_read = np.zeros(vms, bool), np.zeros(vms, bool)
        self._host_asked = np.zeros(hosts)
        self._was_on = np.ones(hosts, bool)
        self._readings = 0
        self._joules = self._on_seconds = self._short_seconds = 0.0
        self._lost = self._wanted = self._all_seconds = 0.0
        self._migrations = self._shutdowns = 0

    def read(self, now: float) -> None:
        """Advance to a moment."""
        world = self._world
        seconds = now - world.now if self._readings else now
        before = world.used.copy()
        self._count(seconds)
        world.now = now
        world.requested = world.vm_mips * world.usage_at(now)
        self._share_out()
        on = before > 0
        mean = watts(world.kind, before / world.total_mips)
        mean = (mean + watts(world.kind, world.used / world.total_mips)) / 2
        self._joules += float(mean[on].sum()) * seconds
        self._readings += 1
        self._turn_off()
        self._remove_idle()

    def begin(self, moves: Sequence[Move]) -> None:
        """Moves start at this moment."""
        self._moving = list(moves)
        self._migrations += len(moves)
        if moves:
            self._share_out()
            self._turn_off()

    def end(self, moves: Sequence[Move]) -> None:
        """Moves end at this moment."""
        world = self._world
        for move in moves:
            world.order[world.host[move.vm]].remove(move.vm)
            world.order[move.target].append(move.vm)
            world.host[move.vm] = move.target
        self._moving = [move for move in self._moving if move not in moves]
        self._share_out()
        self._turn_off()
        self._remove_idle()

    def outcome(self) -> Outcome:
        """All that was counted."""
        slatah = self._short_seconds / self._on_seconds if self._on_seconds else 0.0
        pdm = self._lost / self._wanted if self._wanted else 0.0
        return Outcome(
            energy_kwh=self._joules / 3.6e6,
            migrations=self._migrations,
            slatah=slatah,
            pdm=pdm,
            slav=slatah * pdm,
            shutdowns=self._shutdowns,
            mean_hosts=self._on_seconds / self._all_seconds if self._all_seconds else 0.0,
        )

    def _count(self, seconds: float) -> None:
        """What lies between the last reading and now, at the last reading's rates."""
        if not self._readings:
            return
        world = self._world
        known = self._is_read
        self._wanted += float(self._asked[known].sum()) * seconds
        short = known & self._is_moving & (self._given < self._asked)
        self._lost += float((self._asked - self._given)[short].sum()) * seconds
        on = self._was_on
        self._all_seconds += seconds
        self._on_seconds += float(on.sum()) * seconds
        self._short_seconds += float((on & (world.used < self._host_asked)).sum()) * seconds

    def _share_out(self) -> None:
        """Give every machine what its host can."""
        world = self._world
        here = np.flatnonzero(world.host >= 0)
        at = world.host[here]
        asked = world.requested[here]
        capped = np.minimum(asked, world.core_mips[at])
        vms = np.array([move.vm for move in self._moving], np.int64)
        targets = np.array([move.target for move in self._moving], np.int64)
        arriving = np.minimum(world.requested[vms], world.core_mips[targets])
        needed = _sum(at, capped, world.hosts) + _IN * _sum(targets, arriving, world.hosts)
        is_short = needed > world.total_mips
        scale = np.where(is_short, world.total_mips / np.maximum(needed, 1e-9), 1.0)
        out = np.isin(here, vms)
        given = np.where(out, _OUT, 1.0) * capped
        given = np.where(is_short[at], np.floor(given * scale[at]), given)
        taken = _IN * arriving
        taken = np.where(is_short[targets], np.floor(taken * scale[targets]), taken)
        world.used = _sum(at, np.where(out, given / _OUT, given), world.hosts)
        world.used += _sum(targets, taken, world.hosts)
        self._host_asked = _sum(at, asked, world.hosts)
        self._host_asked += _sum(targets, world.requested[vms], world.hosts)
        self._given[here], self._asked[here] = given, asked
        self._is_moving[:] = False
        self._is_moving[vms] = True
        self._is_read[:] = False
        self._is_read[here] = True

    def _turn_off(self) -> None:
        on = self._world.used > 0
        self._shutdowns += int((self._was_on & ~on).sum())
        self._was_on = on

    def _remove_idle(self) -> None:
        world = self._world
        moving = {move.vm for move in self._moving}
        for vm in np.flatnonzero((world.host >= 0) & (world.requested == 0)).tolist():
            if vm not in moving:
                world.order[world.host[vm]].remove(vm)
                world.host[vm] = -1


def _sum(at: Ints, amounts: Floats, count: int) -> Floats:
    return np.bincount(at, amounts, count).astype(np.float64, copy=False)
