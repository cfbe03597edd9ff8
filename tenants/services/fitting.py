"""Judges whether one host's shops have room on others: pure, and quick for a thousand shops and hosts.

The largest goes first, each to the host with most memory left. Room that is found may still be taken before
it is booked; without room found, a drain would need luck.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

# Of the hosts with most memory left, so many are tried before a shop counts as one without room.
_TRIED = 16


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a shop is booked at, or what a host has left."""

    cpu_millis: float
    memory_bytes: float
    disk_bytes: float

    def holds(self, other: "Amounts") -> bool:
        """Return whether the other fits in."""
        return (
            other.cpu_millis <= self.cpu_millis
            and other.memory_bytes <= self.memory_bytes
            and other.disk_bytes <= self.disk_bytes
        )

    def less(self, other: "Amounts") -> "Amounts":
        """Return what is left with the other in."""
        return Amounts(
            self.cpu_millis - other.cpu_millis,
            self.memory_bytes - other.memory_bytes,
            self.disk_bytes - other.disk_bytes,
        )


@dataclass(frozen=True, slots=True)
class Fit:
    """How many of how many fit, and how much is wanted by the rest together."""

    count: int
    fitting: int
    missing: Amounts

    @property
    def is_whole(self) -> bool:
        """Return whether all fit."""
        return self.fitting == self.count


def fit(shops: Sequence[Amounts], hosts: Sequence[Amounts]) -> Fit:
    """Put the shops onto the hosts in thought; order and ties are by amount, so the answer is repeatable."""
    left = [(-host.memory_bytes, number, host) for number, host in enumerate(hosts)]
    heapq.heapify(left)
    missing = Amounts(0, 0, 0)
    fitting = 0
    for shop in sorted(shops, key=lambda one: (-one.memory_bytes, -one.cpu_millis)):
        if _put(shop, left):
            fitting += 1
        else:
            missing = Amounts(
                missing.cpu_millis + shop.cpu_millis,
                missing.memory_bytes + shop.memory_bytes,
                missing.disk_bytes + shop.disk_bytes,
            )
    return Fit(len(shops), fitting, missing)


def _put(shop: Amounts, left: list[tuple[float, int, Amounts]]) -> bool:
    passed: list[tuple[float, int, Amounts]] = []
    found = False
    while left and len(passed) < _TRIED and not found:
        memory, number, host = heapq.heappop(left)
        if host.holds(shop):
            host, found = host.less(shop), True
            memory = -host.memory_bytes
        passed.append((memory, number, host))
    for one in passed:
        heapq.heappush(left, one)
    return found
