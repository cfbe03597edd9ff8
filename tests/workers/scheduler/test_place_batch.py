"""Many placed together: by the limits and in the order of single placements, and nobody is left who fits."""

import numpy as np

from workers.scheduler.demand_vector import as_load, flat, highs
from workers.scheduler.place import place
from workers.scheduler.place_batch import place_all
from workers.scheduler.types import HostView, InstanceView, Placed, PoolView, Resources


def host(pk: int, memory: int, *, is_seen: bool = True, most_instances: int = 100) -> HostView:
    return HostView(
        id=pk,
        name=f"host-{pk}",
        is_open=True,
        is_seen=is_seen,
        offered=Resources(cpu_millis=10_000, memory_bytes=memory, disk_bytes=10_000),
        most_instances=most_instances,
    )


def shops(count: int, memory: int = 10) -> list[InstanceView]:
    return [InstanceView(f"ins_{number}", flat(10, memory, 1)) for number in range(count)]


def test_hosts_are_filled_in_the_order_of_single_placements() -> None:
    pool = PoolView.of([host(1, 1000), host(2, 45)])
    together = place_all(shops(6), pool)
    first = place(shops(1)[0], pool)
    assert isinstance(first, Placed)
    assert together.host_ids[0] == first.candidates[0]
    assert sorted(together.host_ids) == [1, 1, 2, 2, 2, 2]


def test_those_without_room_are_left_with_the_reason() -> None:
    placed = place_all(shops(5), PoolView.of([host(1, 35)]))
    assert (placed.host_ids, placed.left) == ((1, 1, 1, 0, 0), 2)
    assert "has no room: memory" in placed.refusals[0]
    assert not placed.is_unseen


def test_a_host_takes_no_more_instances_than_it_may() -> None:
    placed = place_all(shops(7), PoolView.of([host(1, 100, most_instances=3), host(2, 1000)]))
    assert (placed.host_ids.count(1), placed.host_ids.count(2)) == (3, 4)


def test_hosts_that_are_not_heard_say_nothing_about_room() -> None:
    placed = place_all(shops(1), PoolView.of([host(1, 1000, is_seen=False)]))
    assert (placed.left, placed.is_unseen) == (1, True)


def test_a_large_one_finds_room_although_small_ones_were_asked_for_first() -> None:
    asked = [*shops(6, memory=10), *shops(1, memory=40)]
    placed = place_all(asked, PoolView.of([host(1, 50), host(2, 50)]))
    assert placed.left == 0
    for pk in (1, 2):
        here = [one.demand for one, at in zip(asked, placed.host_ids, strict=True) if at == pk]
        assert highs(as_load(np.stack(here)).sum(axis=0))[1] <= 50
