"""Feeds a trace to the scheduler's own measurement, hour by hour, as a pool's agents would."""

import numpy as np

from bench.research.traces import WINDOWS_PER_HOUR, Trace
from workers.scheduler.demand_vector import F32, flat
from workers.scheduler.profiles.usage_profile import Hour, Profiles, demands, fold, unmeasured


def profiles_of(trace: Trace, profiles: Profiles | None = None) -> Profiles:
    """Profiles after the whole trace, from nothing or from what was known before."""
    known = unmeasured(len(trace)) if profiles is None else profiles
    for number in range(trace.cpu.shape[1] // WINDOWS_PER_HOUR):
        known = fold(known, hour_of(trace, number))
    return known


def hour_of(trace: Trace, number: int) -> Hour:
    """What agents would have reported of the trace's hour of that number."""
    part = slice(number * WINDOWS_PER_HOUR, (number + 1) * WINDOWS_PER_HOUR)
    cpu, memory = trace.cpu[:, part], trace.memory[:, part]
    nothing = np.zeros(len(trace), np.float32)
    return Hour(
        number=trace.start + number,
        cpu=cpu,
        network=np.where(np.isnan(cpu), np.nan, 0.0),
        memory=np.nan_to_num(memory).max(axis=1),
        disk=nothing,
        oom=nothing,
    )


def at_ceiling(trace: Trace) -> F32:
    """Demands of instances of which only the limits are known."""
    return np.stack([flat(cpu, memory, disk, net) for cpu, memory, disk, net in trace.ceilings])


def demands_of(trace: Trace, profiles: Profiles) -> F32:
    """What the scheduler expects each instance to use; those not measured count at their limits."""
    return demands(profiles, at_ceiling(trace), trace.ceilings)
