"""When an instance is near or over its disk limit, and the one extra it gets to clean up with.

At its limit SQLite cannot even delete: it needs a journal for that. So an instance that has filled
its space is let write a twentieth more, once; when it has gone below nine tenths the extra is taken
back. Both follow from usage, limit and the limit in force alone: nothing else is remembered.
"""

from runtime.statuses import DiskState
from runtime.units import MIB

NEAR_PERCENT = 90
# A write that does not fit is refused whole, so usage stops somewhat below the limit.
FULL_PERCENT = 98
EXTRA_PERCENT = 5
# An empty space of btrfs is some blocks of metadata, and changing one needs room for some more.
LEAST_BYTES = MIB


def state_of(used: int, ceiling: int) -> DiskState:
    """Return how close an instance with this many bytes is to its limit."""
    if used * 100 >= ceiling * FULL_PERCENT:
        return DiskState.OVER
    if used * 100 >= ceiling * NEAR_PERCENT:
        return DiskState.NEAR
    return DiskState.OK


def next_limit(used: int, ceiling: int, limit: int | None) -> int:
    """Return the limit that should be in force, from the one that is (None: there is none)."""
    ceiling = max(ceiling, LEAST_BYTES)
    extended = ceiling + ceiling * EXTRA_PERCENT // 100
    if used * 100 >= ceiling * FULL_PERCENT:
        return extended
    if limit == extended and used * 100 >= ceiling * NEAR_PERCENT:
        return extended
    return ceiling
