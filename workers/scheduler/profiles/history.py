"""The recorded week of a host: what its instances used in each hour of it, taken together.

Single instances do not show what a host will need: instances rise together or they do not.
Their recorded hours know. For every hour of the week the means add, and so do the squared deviations
inside the hour, which are nearly independent. With z the normal quantile of the overload chance:

    peak = max over hours(sum(mean) + z * sqrt(sum(swing^2)))

What is kept is the difference between the recorded week and the daily shapes booked (`beyond`), once an
hour. Daily shapes follow every placement at once, so load and difference together are the week as it is
now: exact for instances that were there at the last fold, by the daily shape for those that came since.
"""

import numpy as np

from workers.scheduler.demand_vector import (
    CPU,
    CPU_MEAN,
    CPU_SQUARE,
    CPU_SWING,
    DEFAULT,
    F32,
    HOURS,
    Rules,
    highs,
    within_limit,
)
from workers.scheduler.profiles.log_quantizer import ABSENT, AMOUNTS
from workers.scheduler.profiles.usage_profile import SLOTS, Profiles

MEANS = slice(0, SLOTS)
SQUARES = slice(SLOTS, 2 * SLOTS)
HISTORY_WIDTH = 2 * SLOTS
_DAYS = SLOTS // HOURS


def beyond(profiles: Profiles, demands: F32, limits: F32) -> F32:
    """Return what each instance's recorded week differs from the daily shape it is booked at; adds up.

    limits [n]: millicores that it cannot exceed, 0 for none.
    float32 [n, HISTORY_WIDTH]: means, then squared swings; 0 in hours that were not measured.
    """
    absent = profiles["cpu_mean"] == ABSENT
    mean, swing = within_limit(
        AMOUNTS[profiles["cpu_mean"]], AMOUNTS[profiles["cpu_swing"]], limits[:, None]
    )
    mean -= np.tile(demands[:, CPU_MEAN], _DAYS)
    square = np.square(swing)
    square -= np.square(np.tile(demands[:, CPU_SWING], _DAYS))
    return np.where(
        np.concatenate([absent, absent], axis=1), np.float32(0), np.hstack([mean, square])
    )


def expected(load: F32, difference: F32 | None, rules: Rules = DEFAULT) -> F32:
    """Return the most each resource is expected to reach, per row of load, in the order of RESOURCES.

    The processor goes by the recorded week where there is one (difference: rows of `beyond`, NaN for
    none). The daily shapes have a say even then: up to the share that is planned with, or the guard that
    books (tenants/placement/bookings.py), which knows nothing else, would refuse what is decided here.
    """
    found = highs(load, rules)
    if difference is None:
        return found
    peak = _peaks(load, difference, rules)
    by_shape = found[..., CPU]
    found[..., CPU] = np.where(
        np.isnan(peak), by_shape, np.fmax(peak, by_shape * np.float32(rules.shares[CPU]))
    )
    return found


def _peaks(load: F32, difference: F32, rules: Rules) -> F32:
    """Return the highest five minutes of the week, in millicores."""
    shape = (*load.shape[:-1], _DAYS, HOURS)
    spread = difference[..., SQUARES].reshape(shape) + load[..., None, CPU_SQUARE]
    np.maximum(spread, 0.0, out=spread)
    np.sqrt(spread, out=spread)
    spread *= np.float32(rules.z)
    spread += difference[..., MEANS].reshape(shape)
    spread += load[..., None, CPU_MEAN]
    highest: F32 = spread.max(axis=(-2, -1))
    return highest
