"""When an instance is near or over its limit, and which limit should be in force then."""

import pytest

from runtime.disk import next_limit, state_of
from runtime.statuses import DiskState
from runtime.units import MIB

LIMIT = 100 * MIB
EXTENDED = 105 * MIB


@pytest.mark.parametrize(
    ("used", "state"),
    [
        (0, DiskState.OK),
        (90 * MIB - 1, DiskState.OK),
        (90 * MIB, DiskState.NEAR),
        (98 * MIB - 1, DiskState.NEAR),
        (98 * MIB, DiskState.OVER),
        (300 * MIB, DiskState.OVER),
    ],
)
def test_near_begins_at_nine_tenths_and_over_where_no_more_is_taken(
    used: int, state: DiskState
) -> None:
    assert state_of(used, LIMIT) is state


@pytest.mark.parametrize(
    ("used", "limit", "wanted"),
    [
        (10 * MIB, LIMIT, LIMIT),
        (95 * MIB, LIMIT, LIMIT),  # near is no reason yet
        (99 * MIB, LIMIT, EXTENDED),  # the extra, so that something can be deleted
        (104 * MIB, EXTENDED, EXTENDED),  # and no second one
        (92 * MIB, EXTENDED, EXTENDED),  # kept until there is room again
        (89 * MIB, EXTENDED, LIMIT),
        (10 * MIB, None, LIMIT),  # somebody was killed while it was lifted
        (99 * MIB, None, EXTENDED),
        (92 * MIB, 50 * MIB, LIMIT),  # the plan has changed
        (60 * MIB, 50 * MIB, LIMIT),
    ],
)
def test_the_limit_follows_from_use_ceiling_and_the_limit_in_force(
    used: int, limit: int | None, wanted: int
) -> None:
    assert next_limit(used, LIMIT, limit) == wanted
    assert next_limit(used, LIMIT, wanted) == wanted, "a second look changes nothing"


def test_a_tiny_ceiling_still_holds_an_empty_space() -> None:
    assert next_limit(0, 1, None) == MIB
