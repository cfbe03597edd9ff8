"""A pool that lives through a trace, decided by the functions that the running product calls.

Instances arrive one by one and nobody has measured them: they are booked at the product's guess, placed by
`place`, seen by its first looks, learnt from when an hour has ended (`fold`, `demands`), booked anew
(`next_booking`) and moved by its round of rebalancing (`round.decide`) within its limits. Only agents,
containers, PostgreSQL and time are not there. A round sees nothing of the window it acts in.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from bench.research.compare import HostSize
from bench.research.learn import hour_of
from bench.research.outcome import WINDOW_SECONDS
from bench.research.traces import WEEK, WINDOWS_PER_HOUR, Trace
from workers.scheduler.demand_vector import DEMAND_WIDTH, F32, LOAD_WIDTH, as_load
from workers.scheduler.place import place
from workers.scheduler.profiles.history import HISTORY_WIDTH, beyond
from workers.scheduler.profiles.usage_profile import demands, fold, unmeasured
from workers.scheduler.rebalancing.plan import RebalanceLimits, RebalanceProposal
from workers.scheduler.rebalancing.round import decide
from workers.scheduler.types import Instances, InstanceView, Ints, Placed, PoolView

DISK_BYTES = float(1 << 50)
# An operator's budget of a round until he says otherwise (models.RebalanceSetting).
LIMITS = RebalanceLimits(moves=20)


@dataclass(frozen=True, slots=True)
class Week:
    """One week of the life. hosts: in use, on average and at most. overloaded: share of host-windows in use
    that wanted more processor than there is; seconds of them. moves in all, of whoever moved most, and of
    instances that had moved within the seven days before (`again`): their hosts were in danger."""

    hosts: float
    most_hosts: int
    overloaded: float
    overload_seconds: int
    short_of_memory: float
    moves: int
    most_moves: int
    again: int


@dataclass(frozen=True, slots=True)
class Life:
    """round_ms: the longest time a round took."""

    weeks: tuple[Week, ...]
    round_ms: float


def live(
    trace: Trace,
    size: HostSize,
    count: int,
    *,
    every_hours: int = 1,
    arrival: Sequence[int] | None = None,
) -> Life:
    """The whole trace on `count` hosts, a machine more every five minutes. every_hours: between rounds.

    arrival: the order in which machines come; as they stand in the trace without.
    """
    prepare()
    pool = _Pool(trace, size, count)
    order = list(range(len(trace)) if arrival is None else arrival)
    for window in range(trace.cpu.shape[1]):
        if order:
            pool.arrives(order.pop(0), window)
        pool.lives(window)
        # The hour is folded minutes after it has ended; a round of rebalancing follows.
        if window and window % WINDOWS_PER_HOUR == 0:
            pool.learns(window // WINDOWS_PER_HOUR - 1)
            if (window // WINDOWS_PER_HOUR) % every_hours == 0:
                pool.rebalances(window)
    return pool.told()


def prepare() -> None:
    """Django's models without a database: a booking is asked for with rows that nobody stores."""
    from django.conf import settings

    if not settings.configured:
        import django

        settings.configure(
            INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "tenants"],
            USE_TZ=True,
        )
        django.setup()


class _Pool:
    def __init__(self, trace: Trace, size: HostSize, count: int) -> None:
        from tenants.catalogue.models import Plan as Sold
        from tenants.catalogue.models import Release

        self.trace, self.size, self.count = trace, size, count
        n = len(trace)
        kinds = {tuple(row) for row in trace.ceilings[:, :2].tolist()}
        self.sold = {
            kind: Sold(
                slug=str(number), cpu_millis=int(kind[0]), memory_bytes=int(kind[1]), disk_bytes=0
            )
            for number, kind in enumerate(sorted(kinds))
        }
        self.kind = [tuple(row) for row in trace.ceilings[:, :2].tolist()]
        self.release = Release()
        self.priors: dict[tuple[float, ...], Any] = {}
        self.profiles = unmeasured(n)
        self.cold = np.zeros((n, DEMAND_WIDTH), np.float32)
        self.placed: dict[int, Any] = {}
        self.demands = np.zeros((n, DEMAND_WIDTH), np.float32)
        self.hosts: Ints = np.full(n, -1, np.int64)
        self.since = np.full(n, -1, np.int64)  # window of the last placement
        self.arrived = np.full(n, 1 << 30, np.int64)
        self.moved: list[tuple[int, int]] = []
        self.again: list[int] = []
        self.seen: list[tuple[int, int, int]] = []
        self.beyond: F32 = np.full((count, HISTORY_WIDTH), np.nan, np.float32)
        self.own: F32 = np.zeros((n, HISTORY_WIDTH), np.float32)
        self.round_ms = 0.0

    # What happens ---------------------------------------------------------------------------------

    def arrives(self, row: int, window: int) -> None:
        from tenants.placement import bookings
        from tenants.placement.models import Placement
        from workers.pool import mapping

        plan = self.sold[self.kind[row]]
        known = self.priors.get(self.kind[row])
        booking = bookings.within(known, plan) if known else bookings.guess(self.release, plan)
        demand = mapping.demand_row(booking)
        decision = place(InstanceView(str(row), demand), self.view())
        if not isinstance(decision, Placed):
            raise SystemExit(f"{self.count} hosts have no room for machine {row}: {decision.told}")
        self.cold[row] = demand
        self.hosts[row] = decision.candidates[0]
        self.since[row] = self.arrived[row] = window
        self.placed[row] = Placement(booked_at=_at(window))
        self._book(row, booking, window)

    def lives(self, window: int) -> None:
        """What is used is felt by the hosts; who came lately is looked at."""
        here = np.flatnonzero(self.hosts >= 0)
        wanted = np.bincount(
            self.hosts[here], np.nan_to_num(self.trace.cpu[here, window]), self.count
        )
        memory = np.bincount(
            self.hosts[here], np.nan_to_num(self.trace.memory[here, window]), self.count
        )
        self.seen.append(
            (
                len(np.unique(self.hosts[here])),
                int((wanted > self.size.cpu_millis).sum()),
                int((memory > self.size.memory_bytes).sum()),
            )
        )
        self._looks(window)

    def _looks(self, window: int) -> None:
        """The first look at kinds that nobody was measured of for an hour."""
        from tenants.placement import placements
        from workers.usage import first_looks

        hours = self.profiles["hours"].tolist()
        fresh = [r for r in self.placed if not hours[r]]
        if not fresh:
            return
        for kind in {self.kind[row] for row in fresh}:
            rows = [
                r
                for r in self.placed
                if self.kind[r] == kind and not np.isnan(self.trace.cpu[r, window])
            ]
            if not rows:
                continue
            uses = [
                first_looks.Use(
                    float(self.trace.cpu[r, window]), int(self.trace.memory[r, window]), 0
                )
                for r in rows[-first_looks.MOST_INSTANCES :]
            ]
            booking = first_looks.expected(uses, self.sold[kind], self.priors.get(kind))
            self.priors[kind] = booking
            for row in fresh:
                if self.kind[row] == kind and booking != placements.booking_of(self.placed[row]):
                    self._book(row, booking, window)

    def learns(self, hour: int) -> None:
        """An ended hour is folded, and who was there is booked anew."""
        from workers.usage import rightsizing

        told = hour_of(self.trace, hour)
        gone = (
            np.arange(WINDOWS_PER_HOUR)[None, :] + hour * WINDOWS_PER_HOUR < self.arrived[:, None]
        )
        told.cpu[...] = np.where(gone, np.nan, told.cpu)
        self.profiles = fold(
            self.profiles, replace(told, network=np.where(np.isnan(told.cpu), np.nan, 0.0))
        )
        expected = demands(self.profiles, self.cold, self._ceilings())
        window = (hour + 1) * WINDOWS_PER_HOUR
        for row, placement in self.placed.items():
            if not self.profiles["hours"][row]:
                continue
            booking = rightsizing.next_booking(placement, expected[row], now=_at(window))
            if booking is not None:
                self._book(row, booking, window)
        own = beyond(self.profiles, self.demands, self._ceilings()[:, 0])
        self.beyond = np.full((self.count, HISTORY_WIDTH), np.nan, np.float32)
        for host in np.unique(self.hosts[self.hosts >= 0]):
            self.beyond[host] = own[self.hosts == host].sum(axis=0)
        self.own = own

    def rebalances(self, window: int) -> None:
        """One round, carried out."""
        began = time.perf_counter()
        plan = self.decides(window)
        self.round_ms = max(self.round_ms, (time.perf_counter() - began) * 1000)
        for move in plan.moves:
            row = int(move.instance)
            if not (self.hosts == move.target).any():
                self.beyond[move.target] = 0.0
            self.hosts[row] = move.target
            if self.since[row] > max(window - WEEK, int(self.arrived[row])):
                self.again.append(window)
            self.since[row] = window
            self.moved.append((window, row))

    def decides(self, window: int) -> RebalanceProposal:
        def on(pool: PoolView, rows: Ints) -> Instances:
            return self.instances(rows, window)

        return decide(self.view(), on, LIMITS)[0]

    # What the product would know ------------------------------------------------------------------

    def view(self) -> PoolView:
        count = self.count
        here = np.flatnonzero(self.hosts >= 0)
        load = np.zeros((count, LOAD_WIDTH), np.float64)
        np.add.at(load, self.hosts[here], as_load(self.demands[here]))
        return PoolView(
            ids=np.arange(count, dtype=np.int64),
            names=tuple(f"h{row}" for row in range(count)),
            is_open=np.ones(count, np.bool_),
            is_seen=np.ones(count, np.bool_),
            offered=np.tile(
                [self.size.cpu_millis, self.size.memory_bytes, DISK_BYTES, 0.0], (count, 1)
            ),
            load=np.asfortranarray(load.astype(np.float32)),
            beyond=np.where(
                (np.bincount(self.hosts[here], minlength=count) > 0)[:, None], self.beyond, 0.0
            ),
            busy=np.full((count, 2), -1, np.float32),
            starting=np.zeros(count, np.int64),
            instances=np.bincount(self.hosts[here], minlength=count),
            most_instances=np.full(count, 20_000, np.int64),
        )

    def instances(self, rows: Ints, window: int) -> Instances:
        found = np.flatnonzero(np.isin(self.hosts, rows))
        found = found[np.argsort(self.hosts[found], kind="stable")]
        return Instances(
            ids=tuple(map(str, found.tolist())),
            host=self.hosts[found],
            demands=self.demands[found].copy(),
            move_cost=self.demands[found, 96].copy(),
            beyond=self.own[found],
            rested=((window - self.since[found]) * WINDOW_SECONDS).astype(np.float32),
        )

    def told(self) -> Life:
        weeks = []
        for start in range(0, len(self.seen) - WEEK + 1, WEEK):
            seen = np.array(self.seen[start : start + WEEK])
            moved = [row for window, row in self.moved if start <= window < start + WEEK]
            total = int(seen[:, 0].sum())
            weeks.append(
                Week(
                    hosts=round(total / len(seen), 2),
                    most_hosts=int(seen[:, 0].max()),
                    overloaded=float(seen[:, 1].sum()) / total,
                    overload_seconds=int(seen[:, 1].sum()) * WINDOW_SECONDS,
                    short_of_memory=float(seen[:, 2].sum()) / total,
                    moves=len(moved),
                    most_moves=max((moved.count(row) for row in set(moved)), default=0),
                    again=sum(start <= window < start + WEEK for window in self.again),
                )
            )
        return Life(tuple(weeks), round(self.round_ms, 1))

    def _ceilings(self) -> F32:
        return self.trace.ceilings

    def _book(self, row: int, booking: Any, window: int) -> None:
        from workers.pool import mapping

        placement = self.placed[row]
        placement.cpu_millis, placement.shape = booking.cpu_millis, list(booking.shape)
        placement.memory_bytes, placement.disk_bytes = booking.memory_bytes, booking.disk_bytes
        placement.booked_at = _at(window)
        self.demands[row] = mapping.demand_row(booking)


def _at(window: int) -> datetime:
    return datetime(2013, 8, 1, tzinfo=UTC) + timedelta(seconds=window * WINDOW_SECONDS)
