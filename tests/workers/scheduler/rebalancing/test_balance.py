"""A few moves even out what hosts could be asked for; not onto empty or closed hosts, not for little."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.research.sums import loads_by_host
from workers.scheduler.demand_vector import CPU_SWING, F32, flat, highs
from workers.scheduler.rebalancing.balance import even_out, strains
from workers.scheduler.rebalancing.level import Easing
from workers.scheduler.rebalancing.plan import RebalanceProposal
from workers.scheduler.types import HostView, Instances, PoolView, Resources

GIB = 1024**3


def bursting(swing: float, memory_gib: float = 1.0) -> F32:
    row = flat(50, memory_gib * GIB, 0)
    row[CPU_SWING] = swing
    return row


def pool_of(
    demands: list[F32], at: list[int], count: int, **changes: object
) -> tuple[PoolView, Instances]:
    matrix, hosts = np.stack(demands), np.array(at)
    load = loads_by_host(matrix, hosts, count)
    views = [
        HostView(
            id=100 + row,
            name=f"h{row}",
            is_open=row != changes.get("closed"),
            is_seen=row != changes.get("unseen"),
            offered=Resources(16_000, 64 * GIB, 0),
            load=load[row],
            instances=int((hosts == row).sum()),
        )
        for row in range(count)
    ]
    instances = Instances(
        ids=tuple(f"ins_{row}" for row in range(len(at))),
        host=hosts,
        demands=matrix,
        move_cost=np.zeros(len(at), np.float32),
        rested=np.full(len(at), changes.get("rested", 1e6), np.float32),
    )
    return PoolView.of(views), instances


TALL_TOGETHER = [bursting(1500)] * 4 + [bursting(10)] * 8
AT = [0] * 4 + [1] * 4 + [2] * 4


def targets(plan: RebalanceProposal) -> list[int]:
    return [move.target for move in plan.moves]


def test_instances_that_could_rise_together_are_taken_apart() -> None:
    plan = even_out(*pool_of(TALL_TOGETHER, AT, 3))
    assert plan.moves[0].source == 100
    assert len(plan.moves) <= Easing().moves
    assert plan.moves[0].reason.startswith("h0 could be asked for 98% of its processor, h")


def test_what_is_even_is_left_alone_and_so_is_what_was_evened_out() -> None:
    assert not even_out(*pool_of([bursting(500)] * 6, [0, 0, 1, 1, 2, 2], 3)).moves
    pool, instances = pool_of(TALL_TOGETHER, AT, 3)
    for _ in range(10):
        plan = even_out(pool, instances)
        at = instances.host.tolist()
        for move in plan.moves:
            at[instances.ids.index(move.instance)] = move.target - 100
        pool, instances = pool_of(TALL_TOGETHER, at, 3)
    assert not even_out(pool, instances).moves
    assert strains(pool).max() < 1.5 * strains(pool).mean()


def test_nobody_goes_to_an_empty_closed_or_silent_host() -> None:
    assert not {103} & set(targets(even_out(*pool_of(TALL_TOGETHER, AT, 4))))
    assert not {101} & set(targets(even_out(*pool_of(TALL_TOGETHER, AT, 3, closed=1))))
    assert not {102} & set(targets(even_out(*pool_of(TALL_TOGETHER, AT, 3, unseen=2))))


def test_who_was_moved_lately_rests() -> None:
    assert not even_out(*pool_of(TALL_TOGETHER, AT, 3, rested=60.0)).moves


def test_alone_or_with_nobody_there_is_nothing_to_do() -> None:
    assert not even_out(*pool_of([bursting(1500)], [0], 1)).moves


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_no_host_is_brought_beyond_its_limits_and_the_worst_gets_no_worse(seed: int) -> None:
    dice = np.random.default_rng(seed)
    demands = [bursting(float(dice.gamma(1, 500)), float(dice.uniform(0.5, 8))) for _ in range(30)]
    at = dice.integers(0, 5, 30).tolist()
    pool, instances = pool_of(demands, at, 5)
    for move in even_out(pool, instances).moves:
        at[instances.ids.index(move.instance)] = move.target - 100
    after, _ = pool_of(demands, at, 5)
    limit = np.array([16_000 * 0.9, 64 * GIB])
    beyond = [
        np.maximum(highs(one.load)[:, :2] / limit - 1, 0).sum(axis=1) for one in (pool, after)
    ]
    assert beyond[1].max() <= beyond[0].max() + 1e-4
    if beyond[0].max() == 0:
        assert strains(after).max() <= strains(pool).max() + 1e-4
