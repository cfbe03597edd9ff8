"""What the scheduler gets and what it answers: frozen values that tests can compare.

The pool is a struct of arrays: one row per host in every array, so that 2,000 hosts are judged at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from workers.scheduler.demand_vector import (
    DEMAND_WIDTH,
    F32,
    LOAD_WIDTH,
    as_load,
    flat,
    refuse_no_amount,
)

Bools: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]
F64: TypeAlias = npt.NDArray[np.float64]

# Why an instance can go nowhere.
Why = Literal["full", "busy", "unseen"]


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount of everything that can run out on a host; network in bytes a second, 0 for not counted."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    network: int = 0

    def demand(self) -> F32:
        """As a demand that is the same all day."""
        return flat(self.cpu_millis, self.memory_bytes, self.disk_bytes, self.network)


@dataclass(frozen=True, slots=True)
class HostView:
    """One host at the moment of the decision, as PoolView.of takes it.

    offered: capacity less the host's own reserve. booked: what is placed there as flat amounts, or
    load: the sum of the demands (demand_vector.py), which wins. beyond: what its recorded week differs from
    that. is_open: an operator lets new instances in.
    is_seen: it reported in the last seconds. disk_trouble: what it says is wrong with its disks, as a
    sentence; "" for nothing. busy: the shares of its processor and memory measured in the last
    minutes; below 0 for not known. starting: starts in flight there now.
    """

    id: int
    name: str
    is_open: bool
    is_seen: bool
    offered: Resources
    booked: Resources = Resources()
    disk_trouble: str = ""
    load: F32 | None = None
    beyond: F32 | None = None
    busy: tuple[float, float] = (-1.0, -1.0)
    starting: int = 0
    instances: int = 0
    most_instances: int = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class PoolView:
    """All hosts at the moment of the decision: row i of every array is one host.

    offered: float64 [n, 4] in the order of demand_vector.RESOURCES, what may be planned with; 0 in the
    network's column for not counted. load: float32 [n, LOAD_WIDTH], fastest in Fortran order. beyond: float32
    [n, HISTORY_WIDTH], what recorded weeks differ from the daily shapes (profiles/history.py), NaN for a host
    without one; None where all are judged by their daily shapes. busy: float32 [n, 2]. disk_trouble names
    rows only where there is something to say. Nobody writes to these arrays.
    """

    ids: Ints
    names: tuple[str, ...]
    is_open: Bools
    is_seen: Bools
    offered: F64
    load: F32
    busy: F32
    starting: Ints
    instances: Ints
    most_instances: Ints
    beyond: F32 | None = None
    disk_trouble: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """ValueError for a host whose load or size is no number: it would be full, or empty, for ever."""
        for name, amounts in (("offered", self.offered), ("load", self.load)):
            good = np.isfinite(amounts).all(axis=1)
            if not good.all():
                host = self.names[int(np.argmin(good))]
                raise ValueError(f"host {host}: {name} holds what is no finite number")

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, hosts: Sequence[HostView]) -> "PoolView":
        """From single hosts, in the given order."""
        count = len(hosts)
        load = np.zeros((count, LOAD_WIDTH), np.float32, order="F")
        for row, host in enumerate(hosts):
            load[row] = as_load(host.booked.demand()) if host.load is None else host.load
        return cls(
            ids=_ints([host.id for host in hosts]),
            names=tuple(host.name for host in hosts),
            is_open=np.array([host.is_open for host in hosts], np.bool_),
            is_seen=np.array([host.is_seen for host in hosts], np.bool_),
            offered=np.array([_amounts(host.offered) for host in hosts], np.float64).reshape(-1, 4),
            load=load,
            busy=np.array([host.busy for host in hosts], np.float32).reshape(-1, 2),
            starting=_ints([host.starting for host in hosts]),
            instances=_ints([host.instances for host in hosts]),
            most_instances=_ints([host.most_instances for host in hosts]),
            beyond=_stacked([host.beyond for host in hosts]),
            disk_trouble={i: h.disk_trouble for i, h in enumerate(hosts) if h.disk_trouble},
        )


@dataclass(frozen=True, slots=True, eq=False)
class InstanceView:
    """What is to be placed: its id and what it is expected to use.

    demand: float32 [DEMAND_WIDTH] (demand_vector.py). beyond: float32 [HISTORY_WIDTH] (profiles/history.py),
    where measured.
    """

    id: str
    demand: F32
    beyond: F32 | None = None

    def __post_init__(self) -> None:
        """ValueError for a demand that is no amount."""
        refuse_no_amount(self.demand[None, :], f"the demand of {self.id or 'nobody'}, row")


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """Many instances, for packing and rebalancing: row i of every array is one instance.

    host: row in the PoolView of where it is, -1 for nowhere. move_cost: bytes to copy when it moves
    (0 for one that is asleep). rested: seconds since it was placed or moved. beyond: float32
    [n, HISTORY_WIDTH] (profiles/history.py), None where it is not known.
    """

    ids: tuple[str, ...]
    host: Ints
    demands: F32
    move_cost: F32
    rested: F32
    beyond: F32 | None = None

    def __post_init__(self) -> None:
        """ValueError for a demand that is no amount."""
        refuse_no_amount(self.demands, "the demand of instance")

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, views: Sequence[InstanceView], host: Sequence[int] | None = None) -> "Instances":
        """From single instances."""
        count = len(views)
        demands = np.zeros((count, DEMAND_WIDTH), np.float32)
        for row, view in enumerate(views):
            demands[row] = view.demand
        return cls(
            ids=tuple(view.id for view in views),
            host=_ints([-1] * count if host is None else list(host)),
            demands=demands,
            move_cost=np.zeros(count, np.float32),
            rested=np.full(count, np.inf, np.float32),
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one host will not do, as a sentence for an operator."""

    host_name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.host_name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about one host: its rank among the candidates from 1, 0 for refused, and why."""

    host_id: int
    host_name: str
    rank: int
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Placed:
    """Where to go: host ids, best first, so that a host that filled up meanwhile can be skipped."""

    candidates: tuple[int, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Nowhere to go, and why: three answers that have nothing to do with each other.

    full: no host has room, and none would have if it were heard or idle. busy: one has, and starts as
    many others just now as it can. unseen: none that may have room could be looked at.
    scarce: when full, what is missing; a sentence says it with figures.
    refusals: of the first hosts by id; hidden: how many more hosts refused.
    """

    refusals: tuple[Refusal, ...]
    why: Why
    hidden: int = 0
    scarce: str = ""
    told: str = ""

    @property
    def is_unseen(self) -> bool:
        """Whether nothing is said about room."""
        return self.why == "unseen"


Decision = Placed | Unplaced


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, np.int64)


def _stacked(rows: Sequence[F32 | None]) -> F32 | None:
    width = max((len(row) for row in rows if row is not None), default=0)
    if not width:
        return None
    nothing = np.full(width, np.nan, np.float32)
    return np.stack([nothing if row is None else row for row in rows])


def _amounts(offered: Resources) -> tuple[int, int, int, int]:
    return offered.cpu_millis, offered.memory_bytes, offered.disk_bytes, offered.network
