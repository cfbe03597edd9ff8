"""Demand from measurement: what was used, hour by hour, becomes what an instance is expected to use.

A profile is one packed record per instance. For each hour of the last week it has the mean and the deviation
of five-minute windows, processor and network, a byte each (log_quantizer.py). It has the highest memory of
each of the last eight days too. Slots are hours of the week, so the histories of instances add up slot by
slot (history.py). It is folded once an hour, for any number of instances at once.

A demand is worked out from it (`demands`): per hour of the day the mean and the deviation over the
days, newer days weighing more; where there are too few days, the same for all hours. Memory is the
highest peak plus a margin. An instance that was measured for less than a day counts in part as others
of its app and plan do (`prior`), or at its limit where nobody was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.scheduler.demand_vector import (
    CPU_MEAN,
    CPU_SWING,
    DEMAND_WIDTH,
    DISK,
    F32,
    HOURS,
    MEMORY,
    NET_MEAN,
    NET_SWING,
    within_limit,
)
from workers.scheduler.profiles.log_quantizer import ABSENT, AMOUNTS, U8, encode

SLOTS = 168
DAYS = 8
_MIB = 1024.0 * 1024.0
# Rows looked at together, so that 200,000 profiles need no gigabyte on the way.
_CHUNK = 4096

PROFILE = np.dtype(
    [
        ("newest", "<i4"),  # the hour (since 1970) folded last; 0 for none yet
        ("hours", "<u4"),  # how many hours were folded in all
        ("memory", "<f4", DAYS),  # highest of each day, bytes; slot = day % 8
        ("disk", "<f4"),  # last seen, bytes
        ("cpu_mean", "u1", SLOTS),  # millicores; slot = hour % 168
        ("cpu_swing", "u1", SLOTS),
        ("net_mean", "u1", SLOTS),  # bytes a second / NET_UNIT
        ("net_swing", "u1", SLOTS),
    ]
)
# One byte reaches from a tenth to a million: from 100 bytes to a gigabyte a second.
NET_UNIT = 1000.0

Profiles = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Habits:
    """How demand is read from history.

    half_life_days: a day counts half as much as a day that is that much younger. Autopilot and the Vertical
    Pod Autoscaler use half a day to one day, and forget last week; shops have weekends.
    shape_days: so many days must have been measured at an hour before that hour stands for itself.
    cold_hours: an instance measured for less counts in part as others like it do. memory_margin and
    memory_extra: above the highest peak. oom_factor: an instance that ran out of memory had this much
    too little (the Vertical Pod Autoscaler's figure).
    """

    half_life_days: float = 2.0
    shape_days: int = 3
    cold_hours: int = 24
    memory_margin: float = 0.10
    memory_extra: float = _MIB
    oom_factor: float = 1.2
    oom_extra: float = 4 * _MIB


DEFAULT_HABITS = Habits()


@dataclass(frozen=True, slots=True, eq=False)
class Hour:
    """What was measured of n instances in one hour.

    cpu [n, k] millicores and network [n, k] bytes a second: means of the k windows of five minutes, NaN
    where there is none. memory [n]: highest, bytes. disk [n]: last, bytes; NaN for not measured.
    oom [n]: bytes in use when it ran out of memory, 0 where it did not.
    """

    number: int
    cpu: npt.NDArray[np.floating]
    network: npt.NDArray[np.floating]
    memory: npt.NDArray[np.floating]
    disk: npt.NDArray[np.floating]
    oom: npt.NDArray[np.floating]


def unmeasured(count: int) -> Profiles:
    """Profiles of instances that nobody has measured."""
    profiles = np.zeros(count, PROFILE)
    for name in ("cpu_mean", "cpu_swing", "net_mean", "net_swing"):
        profiles[name] = ABSENT
    return profiles


def unpack(rows: bytes) -> Profiles:
    """Profiles from their packed records, one after another."""
    return np.frombuffer(rows, PROFILE)


def stacked(records: Sequence[bytes | None]) -> Profiles:
    """Profiles from their packed records; unmeasured where there is none, or one of another version."""
    found = unmeasured(len(records))
    for index, record in enumerate(records):
        if record is not None and len(record) == PROFILE.itemsize:
            found[index] = np.frombuffer(record, PROFILE)[0]
    return found


def fold(profiles: Profiles, hour: Hour, habits: Habits = DEFAULT_HABITS) -> Profiles:
    """Return the profiles with one more hour; the same hour folded again replaces itself, an old one is
    nothing.
    """
    after = profiles.copy()
    is_measured = ~np.isnan(hour.cpu).all(axis=1) & (hour.number > after["newest"] - SLOTS)
    is_new = is_measured & (hour.number > after["newest"])
    _forget_slots(after, hour.number, is_new)
    _forget_days(after, hour.number // HOURS, is_new)
    slot = hour.number % SLOTS
    for name, windows in (("cpu", hour.cpu), ("net", hour.network / NET_UNIT)):
        mean, swing = _moments(windows[is_measured])
        after[f"{name}_mean"][is_measured, slot] = encode(mean)
        after[f"{name}_swing"][is_measured, slot] = encode(swing)
    short = np.where(hour.oom > 0, hour.oom * habits.oom_factor + habits.oom_extra, 0.0)
    peak = np.fmax(np.nan_to_num(hour.memory), short)
    day = (hour.number // HOURS) % DAYS
    after["memory"][is_measured, day] = np.fmax(after["memory"][:, day], peak)[is_measured]
    after["disk"] = np.where(is_measured & ~np.isnan(hour.disk), hour.disk, after["disk"])
    after["hours"] += is_new
    after["newest"] = np.where(is_new, hour.number, after["newest"])
    return after


def demands(profiles: Profiles, cold: F32, ceilings: F32, habits: Habits = DEFAULT_HABITS) -> F32:
    """Return what each instance is expected to use, float32 [n, DEMAND_WIDTH].

    cold [n, DEMAND_WIDTH]: what it counts as while it is cold, from `prior` or its limit.
    limits [n, 4]: in the order of demand_vector.RESOURCES, what it cannot exceed; 0 for no limit.
    """
    found = np.empty((len(profiles), DEMAND_WIDTH), np.float32)
    for start in range(0, len(profiles), _CHUNK):
        part = slice(start, start + _CHUNK)
        found[part] = _demands(profiles[part], cold[part], ceilings[part], habits)
    return found


def prior(others: F32) -> F32:
    """Return what a new instance is expected to use, from the demands of others of its app and plan.

    Means are the others' mean. The swing holds how much they differ from each other: a sum of many new
    instances is then neither too low nor too wide. Memory and disk are what 95 % of them stay below.
    """
    row = np.empty(DEMAND_WIDTH, np.float32)
    for mean, swing in ((CPU_MEAN, CPU_SWING), (NET_MEAN, NET_SWING)):
        row[mean] = others[:, mean].mean(axis=0)
        row[swing] = np.sqrt(np.square(others[:, swing]).mean(axis=0) + others[:, mean].var(axis=0))
    row[MEMORY:] = np.quantile(others[:, MEMORY:], 0.95, axis=0)
    return row


def _forget_slots(profiles: Profiles, number: int, is_new: npt.NDArray[np.bool_]) -> None:
    """Hours in which nothing was folded since the last one: what they hold is a week too old."""
    ago = (number - np.arange(SLOTS)) % SLOTS
    stale = is_new[:, None] & (ago < (number - profiles["newest"])[:, None])
    for name in ("cpu_mean", "cpu_swing", "net_mean", "net_swing"):
        profiles[name][stale] = ABSENT


def _forget_days(profiles: Profiles, day: int, is_new: npt.NDArray[np.bool_]) -> None:
    ago = (day - np.arange(DAYS)) % DAYS
    passed = day - profiles["newest"] // HOURS
    profiles["memory"][is_new[:, None] & (ago < passed[:, None])] = 0.0


def _moments(windows: npt.NDArray[np.floating]) -> tuple[F32, F32]:
    counted = ~np.isnan(windows)
    count = counted.sum(axis=1)
    values = np.where(counted, windows, 0.0)
    with np.errstate(invalid="ignore"):
        mean = values.sum(axis=1) / count
        square = np.square(np.where(counted, values - mean[:, None], 0.0)).sum(axis=1)
        return mean.astype(np.float32), np.sqrt(square / count).astype(np.float32)


def _demands(profiles: Profiles, cold: F32, ceilings: F32, habits: Habits) -> F32:
    found = np.empty((len(profiles), DEMAND_WIDTH), np.float32)
    weights = _weights(profiles, habits)
    for name, mean, swing, unit in (
        ("cpu", CPU_MEAN, CPU_SWING, 1.0),
        ("net", NET_MEAN, NET_SWING, NET_UNIT),
    ):
        codes = profiles[f"{name}_mean"], profiles[f"{name}_swing"]
        found[:, mean], found[:, swing] = _shape(*codes, weights, unit, habits)
    found[:, MEMORY] = profiles["memory"].max(axis=1)
    found[:, DISK] = profiles["disk"]
    measured = np.minimum(profiles["hours"] / habits.cold_hours, 1.0).astype(np.float32)[:, None]
    for part in (CPU_MEAN, NET_MEAN):
        found[:, part] = measured * found[:, part] + (1 - measured) * cold[:, part]
    for part in (CPU_SWING, NET_SWING):
        square = measured * np.square(found[:, part]) + (1 - measured) * np.square(cold[:, part])
        found[:, part] = np.sqrt(square)
    found[:, CPU_MEAN], found[:, CPU_SWING] = within_limit(
        found[:, CPU_MEAN], found[:, CPU_SWING], ceilings[:, :1]
    )
    _plan_memory(found, cold, ceilings[:, 1], measured[:, 0] < 1, habits)
    found[:, DISK] = np.where(
        measured[:, 0] < 1, np.fmax(found[:, DISK], cold[:, DISK]), found[:, DISK]
    )
    return found


def _weights(profiles: Profiles, habits: Habits) -> F32:
    """[n, 7, 24] by weekday slot and hour of the day: how much each hour counts, 0 for not measured."""
    ago = (profiles["newest"][:, None] - np.arange(SLOTS)) % SLOTS
    weights = np.exp2(-(ago // HOURS) / habits.half_life_days).astype(np.float32)
    weights[profiles["cpu_mean"] == ABSENT] = 0.0
    return weights.reshape(-1, 7, HOURS)


def _shape(mean: U8, swing: U8, weights: F32, unit: float, habits: Habits) -> tuple[F32, F32]:
    """Mean and deviation per hour of the day; hours with too few days get those of all hours together."""
    means = AMOUNTS[mean].reshape(weights.shape)
    squares = np.square(means) + np.square(AMOUNTS[swing].reshape(weights.shape))
    hourly = _weighed(means, squares, weights, axis=1)
    whole = _weighed(means, squares, weights, axis=(1, 2))
    enough = (weights > 0).sum(axis=1) >= habits.shape_days
    return (
        np.where(enough, hourly[0], whole[0][:, None]) * np.float32(unit),
        np.where(enough, hourly[1], whole[1][:, None]) * np.float32(unit),
    )


def _weighed(
    means: F32, squares: F32, weights: F32, axis: int | tuple[int, int]
) -> tuple[F32, F32]:
    total = np.maximum(weights.sum(axis=axis), 1e-9)
    mean = (weights * means).sum(axis=axis) / total
    square = (weights * squares).sum(axis=axis) / total
    return mean, np.sqrt(np.maximum(square - np.square(mean), 0.0))


def _plan_memory(
    found: F32, cold: F32, ceiling: F32, is_cold: npt.NDArray[np.bool_], habits: Habits
) -> None:
    """Peak plus margin, no more than the limit that is enforced, never below what was seen."""
    peak = found[:, MEMORY].copy()
    most = np.where(ceiling > 0, np.fmax(ceiling, peak), np.inf)
    planned = np.fmin(peak * (1 + habits.memory_margin) + habits.memory_extra, most)
    found[:, MEMORY] = np.where(is_cold, np.fmax(planned, cold[:, MEMORY]), planned)
