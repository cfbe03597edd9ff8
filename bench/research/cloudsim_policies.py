"""Policies that CloudSim 3.0.3 is published with: first placements, and consolidation by PABFD and MMT.

They are what our own rebalancing is measured against, in the same run and the same model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.research.cloudsim import (
    HOST_CORE_MIPS,
    HOST_CORES,
    HOST_RAM_MB,
    HOSTS,
    VM_MIPS,
    VM_RAM_MB,
    Bools,
    Floats,
    Ints,
    Move,
    World,
    vm_kinds,
    watts,
)

_BANDWIDTHS = 10  # machines that ask for 100 Mbit/s of a host's gigabit


@dataclass(slots=True, eq=False)
class _Hosts:
    """What first placements look at: MIPS and memory given away per host."""

    kind: Ints
    core: Floats
    total: Floats
    given: Floats
    memory: Floats
    count: Ints

    @classmethod
    def empty(cls) -> "_Hosts":
        kind = np.arange(HOSTS) % len(HOST_CORE_MIPS)
        core = np.array(HOST_CORE_MIPS)[kind]
        zeros = np.zeros(HOSTS)
        return cls(kind, core, core * HOST_CORES, zeros, zeros.copy(), np.zeros(HOSTS, np.int64))

    def suit(self, mips: float, memory: float) -> Bools:
        fits = (self.core >= mips) & (self.total - self.given >= mips)
        fits &= (self.memory + memory <= HOST_RAM_MB) & (self.count < _BANDWIDTHS)
        return fits

    def put(self, host: int, mips: float, memory: float) -> None:
        self.given[host] += mips
        self.memory[host] += memory
        self.count[host] += 1


def first_fit(vms: int) -> Ints:
    """Each machine onto the first host that has all it may ever ask for (CloudSim's DVFS row)."""

    def choose(hosts: _Hosts, mips: float, suits: Bools) -> int:
        return int(suits.argmax())

    return _place(vms, choose)


def least_watts(vms: int) -> Ints:
    """Each onto the host whose power rises least; nothing runs yet, so every host counts as idle."""

    def choose(hosts: _Hosts, mips: float, suits: Bools) -> int:
        more = watts(hosts.kind, (hosts.given + mips) / hosts.total)
        more -= watts(hosts.kind, np.zeros(HOSTS))
        return int(np.where(suits, more, np.inf).argmin())

    return _place(vms, choose)


def _place(vms: int, choose: Callable[[_Hosts, float, Bools], int]) -> Ints:
    hosts = _Hosts.empty()
    found = np.full(vms, -1, np.int64)
    for vm, kind in enumerate(vm_kinds(vms).tolist()):
        mips, memory = VM_MIPS[kind], float(VM_RAM_MB[kind])
        suits = hosts.suit(mips, memory)
        if suits.any():
            found[vm] = choose(hosts, mips, suits)
            hosts.put(int(found[vm]), mips, memory)
    return found


def never(world: World) -> Sequence[Move]:
    """No moves."""
    return ()


@dataclass(slots=True)
class Threshold:
    """THR-MMT: a host is overloaded above a share of its processor; smallest memory moves first."""

    share: float = 0.8

    def __call__(self, world: World) -> Sequence[Move]:
        """The moves of one reading."""
        return _Round(world, world.requested, world.total_mips * self.share).moves()


@dataclass(slots=True)
class LocalRegression:
    """LR-MMT: overloaded when a line through the last ten readings, continued, times 1.2 reaches it all."""

    safety: float = 1.2
    _seen: list[Floats] = field(default_factory=list)

    def __call__(self, world: World) -> Sequence[Move]:
        """The moves of one reading."""
        self._seen = [*self._seen[-9:], world.requested]
        if len(self._seen) < 10:
            return _Round(world, world.requested, world.total_mips * 0.7).moves()
        x = np.arange(1.0, 11.0)
        slope = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
        weights = 1 / 10 + slope * (11 - x.mean())
        ahead = np.tensordot(weights, np.array(self._seen), 1)
        return _Round(world, ahead, world.total_mips / self.safety, inclusive=True).moves()


class _Round:
    """One reading's consolidation: relieve overloaded hosts, then empty the least used ones.

    measure: what makes a host overloaded, per machine; limit: of the sum, per host. Works on a copy of
    the placements; a machine may be chosen twice, as in the released simulator (both count as moves).
    """

    def __init__(
        self, world: World, measure: Floats, limit: Floats, *, inclusive: bool = False
    ) -> None:
        self._world, self._measure = world, measure
        self._limit = np.nextafter(limit, 0) if inclusive else limit
        self._lists = [list(vms) for vms in world.order]
        self._watts = watts(world.kind, world.used / world.total_mips)
        count = world.hosts
        self._given, self._asked, self._left = np.zeros(count), np.zeros(count), np.zeros(count)
        here = np.flatnonzero(world.host >= 0)
        at = world.host[here]
        capped = np.minimum(world.requested[here], world.core_mips[at])
        self._asked += np.bincount(at, measure[here], count)
        self._given += np.bincount(at, capped, count)
        self._settle(np.arange(count))

    def moves(self) -> list[Move]:
        """All moves of this reading."""
        over = np.flatnonzero(self._asked > self._limit)
        is_over = np.zeros(self._world.hosts, bool)
        is_over[over] = True
        leaving = [vm for host in over.tolist() for vm in self._relieve(host)]
        found = []
        for vm in self._largest_first(leaving):
            target = self._target(vm, is_over)
            if target >= 0:
                self._add(target, vm)
                found.append(Move(vm, target))
        return found + self._empty_hosts(is_over)

    def _relieve(self, host: int) -> list[int]:
        gone = []
        while self._lists[host]:
            vm = min(self._lists[host], key=lambda one: self._world.vm_ram[one])
            gone.append(vm)
            self._remove(host, vm)
            if self._asked[host] <= self._limit[host]:
                break
        return gone

    def _empty_hosts(self, is_over: Bools) -> list[Move]:
        load = self._world.used / self._world.total_mips
        closed = is_over | (load == 0)
        kept = closed.copy()
        found: list[Move] = []
        for host in np.argsort(load, kind="stable").tolist():
            if kept[host] or load[host] >= 1 or not self._lists[host]:
                continue
            kept[host] = closed[host] = True
            moves = self._empty(host, closed)
            kept[[move.target for move in moves]] = True
            found += moves
        return found

    def _empty(self, host: int, closed: Bools) -> list[Move]:
        moves: list[Move] = []
        for vm in self._largest_first(self._lists[host]):
            target = self._target(vm, closed)
            if target < 0:
                for move in moves:
                    self._remove(move.target, move.vm)
                return []
            self._add(target, vm)
            moves.append(Move(vm, target))
        return moves

    def _target(self, vm: int, closed: Bools) -> int:
        world = self._world
        asked = world.requested[vm]
        after = (self._given + asked) / world.total_mips
        fits = ~closed & (world.core_mips >= asked) & (self._left >= asked) & (after <= 1)
        fits &= (self._given == 0) | (self._asked + self._measure[vm] <= self._limit)
        hosts = np.flatnonzero(fits)
        if not len(hosts):
            return -1
        more = watts(world.kind[hosts], after[hosts]) - self._watts[hosts]
        return int(hosts[more.argmin()])

    def _largest_first(self, vms: Sequence[int]) -> list[int]:
        return sorted(vms, key=lambda vm: -self._world.requested[vm])

    def _add(self, host: int, vm: int) -> None:
        self._lists[host].append(vm)
        self._recount(host)

    def _remove(self, host: int, vm: int) -> None:
        self._lists[host].remove(vm)
        self._recount(host)

    def _recount(self, host: int) -> None:
        world, vms = self._world, self._lists[host]
        self._asked[host] = self._measure[vms].sum() if vms else 0.0
        capped = np.minimum(world.requested[vms], world.core_mips[host]) if vms else np.zeros(1)
        self._given[host] = capped.sum()
        self._settle(np.array([host]))

    def _settle(self, hosts: Ints) -> None:
        """A host that is asked for more than it has gives all of it."""
        total = self._world.total_mips[hosts]
        is_short = self._given[hosts] > total
        self._left[hosts] = np.where(is_short, 0.0, total - self._given[hosts])
        self._given[hosts] = np.minimum(self._given[hosts], total)
