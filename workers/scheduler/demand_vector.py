"""What one instance is expected to use, and what a host carries: the same few numbers, which add up.

A demand has a *shape* over the 24 hours of the day for what varies and can be shared for a moment
(processor, network): per hour the mean and the *swing*. The swing is how far above the mean the instance
goes, as one deviation of a normal distribution. It is never less than the measured deviation, so that
long tails are not lost. Memory and disk cannot be shared for a moment; they are single amounts.

A load is the sum of demands. Means add. Swings of independent instances add as squares. Swings of
instances that rise together add as they are. Both sums are kept: `highs` allows for a correlation
between the two without knowing the single instances:

    high(hour) = sum(mean) + z * sqrt((1 - r) * sum(swing^2) + r * sum(swing)^2)

with z the normal quantile of the overload chance and r the correlation allowed for. Everything is
float32 in rows of fixed width: 200,000 demands take 78 MB, 2,000 loads 1.2 MB.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

F32: TypeAlias = npt.NDArray[np.float32]

HOURS = 24

# Columns of a demand: hours of the processor in millicores, hours of the network in bytes a second,
# then memory and disk in bytes.
CPU_MEAN = slice(0, 24)
CPU_SWING = slice(24, 48)
NET_MEAN = slice(48, 72)
NET_SWING = slice(72, 96)
MEMORY = 96
DISK = 97
DEMAND_WIDTH = 98

# Columns of a load: as a demand's, and behind them the sums of squared swings.
CPU_SQUARE = slice(98, 122)
NET_SQUARE = slice(122, 146)
LOAD_WIDTH = 146

# What can run out, in the order of every array that has a column for each.
CPU, MEM, DSK, NET = range(4)
RESOURCES = ("processor", "memory", "disk", "network")


@dataclass(frozen=True, slots=True)
class Rules:
    """How sure the scheduler wants to be, and how much of a host it may plan with.

    overload_chance: that in five minutes of its busiest hour a host needs more than may be planned with.
    correlation: how far instances of one host rise together beyond what their daily shapes say. With
    1 % and 0.1 the high is 3 to 11 % above the true peak of a week. That is the median over groups of 28
    machines of a trace of companies' servers (docs/scheduling.md).
    shares: of what a host offers, for processor, memory, disk and network: the rest is for what no
    history shows. Memory and disk have their margin in each instance's demand.
    starts_per_host: starts in flight on a host at once; each costs a tenth of a core for a second.
    busy_share: a host whose memory is measured above this share takes nothing new, whatever is planned.
    """

    overload_chance: float = 0.01
    correlation: float = 0.1
    shares: tuple[float, float, float, float] = (0.9, 1.0, 1.0, 0.9)
    starts_per_host: int = 8
    busy_share: float = 0.95

    @property
    def z(self) -> float:
        """How many deviations above the mean leave no more than the overload chance."""
        return NormalDist().inv_cdf(1 - self.overload_chance)


DEFAULT = Rules()


def refuse_no_amount(amounts: npt.NDArray[np.floating], what: str) -> None:
    """ValueError names the first row (an item, a bin, …) that holds what is no amount: with one below 0,
    NaN or infinite, a search would have no end, or an answer no meaning.
    """
    good = np.isfinite(amounts) & (amounts >= 0)
    if good.all():
        return
    row, column = np.argwhere(~good)[0]
    raise ValueError(
        f"{what} {row} has {amounts[row, column]:g} in column {column};"
        " an amount must be a finite number of 0 or more"
    )


def flat(cpu_millis: float, memory_bytes: float, disk_bytes: float, network: float = 0.0) -> F32:
    """Return a demand that is the same all day and never swings: what is known of a cold instance."""
    row = np.zeros(DEMAND_WIDTH, np.float32)
    row[CPU_MEAN] = cpu_millis
    row[NET_MEAN] = network
    row[MEMORY] = memory_bytes
    row[DISK] = disk_bytes
    return row


def within_limit(mean: F32, swing: F32, limit: F32) -> tuple[F32, F32]:
    """Return means and swings whose high, taken alone, is no more than an enforced limit; 0 for none.

    A normal distribution has no end; an instance has. Where its high would pass its limit, the part of the
    swing beyond it is cut off. The mean rises by that part of what is left up to the limit: an instance
    that is at its limit half of the time is booked near it. Alone it is then exactly at its limit. Many
    together add up to about what they did (docs/decisions/0051). It goes by the default rules: profiles are
    read once for all.
    """
    z = np.float32(DEFAULT.z)
    reach = z * swing
    spare = np.where(limit > 0, np.maximum(limit - mean, 0.0), np.inf).astype(np.float32)
    cut = reach > spare
    kept = np.divide(spare, reach, where=cut, out=np.ones_like(reach))
    spare = np.where(cut, spare, 0.0)
    return mean + (1 - kept) * spare, np.where(cut, kept * spare / z, swing)


def as_load(demand: F32) -> F32:
    """Demands (one, or rows of them) in the form that adds up."""
    load = np.empty((*demand.shape[:-1], LOAD_WIDTH), np.float32)
    load[..., :DEMAND_WIDTH] = demand
    load[..., CPU_SQUARE] = np.square(demand[..., CPU_SWING])
    load[..., NET_SQUARE] = np.square(demand[..., NET_SWING])
    return load


def highs(load: F32, rules: Rules = DEFAULT) -> F32:
    """Return the most each resource is expected to reach, per row of load, in the order of RESOURCES."""
    found = np.empty((*load.shape[:-1], 4), np.float32)
    found[..., CPU] = _high(load, CPU_MEAN, CPU_SWING, CPU_SQUARE, rules)
    found[..., MEM] = load[..., MEMORY]
    found[..., DSK] = load[..., DISK]
    found[..., NET] = _high(load, NET_MEAN, NET_SWING, NET_SQUARE, rules)
    return found


def _high(load: F32, mean: slice, swing: slice, square: slice, rules: Rules) -> F32:
    r = np.float32(rules.correlation)
    spread = np.square(load[..., swing])
    spread *= r
    spread += (1 - r) * load[..., square]
    np.maximum(spread, 0, out=spread)  # what was taken off again may leave a trace below zero
    np.sqrt(spread, out=spread)
    spread *= np.float32(rules.z)
    spread += load[..., mean]
    highest: F32 = spread.max(axis=-1)
    return highest
