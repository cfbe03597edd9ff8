"""What a host says is in use of what it offers."""

import pytest

from workers.agent.host_report import Reading, memory_in_use


@pytest.mark.parametrize(
    ("offered", "available", "used"),
    [(0, 6, 2), (2, 6, 0), (2, 1, 1), (2, 0, 2)],
)
def test_of_a_part_of_a_machine_only_what_is_missing_of_that_part_is_in_use(
    offered: int, available: int, used: int
) -> None:
    reading = Reading(0, 8, available, 100, 50)
    assert memory_in_use(reading, offered) == used
