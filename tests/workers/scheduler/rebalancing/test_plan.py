from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.research.sums import loads_by_host
from workers.scheduler.demand_vector import CPU, CPU_MEAN, CPU_SQUARE, CPU_SWING, F32, flat, highs
from workers.scheduler.host_evaluation import limits
from workers.scheduler.place import place
from workers.scheduler.profiles.history import HISTORY_WIDTH, MEANS
from workers.scheduler.rebalancing.plan import RebalanceLimits, RebalanceProposal, plan
from workers.scheduler.types import HostView, Instances, InstanceView, Placed, PoolView, Resources

_GIB = 1024**3
_OFFERED = Resources(cpu_millis=1000, memory_bytes=64 * _GIB, disk_bytes=64 * _GIB)
_AT_ONCE = RebalanceLimits(cooldown_seconds=0.0)


def _demand(cpu: float, swing: float = 0.0, memory: float = 1024.0) -> F32:
    row = flat(cpu, memory, 1024)
    row[CPU_SWING] = swing
    return row


def _world(
    hosts: int, where: Sequence[int], demands: Sequence[F32], cost: Sequence[float] = ()
) -> tuple[PoolView, Instances]:
    views = [InstanceView(id=f"ins_{n}", demand=row) for n, row in enumerate(demands)]
    instances = Instances.of(views, list(where))
    if cost:
        instances = replace(instances, move_cost=np.array(cost, np.float32))
    loads = loads_by_host(instances.demands, instances.host, hosts)
    counts = np.bincount(instances.host[instances.host >= 0], minlength=hosts)
    pool = PoolView.of(
        [
            HostView(
                id=100 + row,
                name=f"host-{row}",
                is_open=True,
                is_seen=True,
                offered=_OFFERED,
                load=loads[row],
                instances=int(counts[row]),
            )
            for row in range(hosts)
        ]
    )
    return pool, instances


def _after(
    pool: PoolView, instances: Instances, made: RebalanceProposal
) -> tuple[PoolView, Instances]:
    """The same pool once the plan is carried out and everybody has rested again."""
    host = instances.host.copy()
    place_of = {name: row for row, name in enumerate(instances.ids)}
    for move in made.moves:
        assert host[place_of[move.instance]] == move.source - 100
        host[place_of[move.instance]] = move.target - 100
    moved = replace(instances, host=host)
    return (
        replace(
            pool,
            load=np.asfortranarray(loads_by_host(moved.demands, host, len(pool))),
            instances=np.bincount(host[host >= 0], minlength=len(pool)),
        ),
        moved,
    )


def _full(pool: PoolView) -> F32:
    return np.asarray(highs(pool.load)[:, CPU] / limits(pool)[:, CPU], np.float32)


def test_a_hot_host_is_relieved_by_one_move_when_one_is_enough() -> None:
    demands = [_demand(400), _demand(300), _demand(300), _demand(100)]
    pool, instances = _world(3, [0, 0, 0, 1], demands)
    found = plan(pool, instances, _AT_ONCE)
    assert len(found.moves) == 1
    move = found.moves[0]
    assert (move.source, move.target) == (100, 101)
    assert move.reason == "host-0 is expected at 111% of its limits; host-1 takes it"


def test_of_moves_that_are_enough_the_cheapest_is_made() -> None:
    demands = [_demand(500), _demand(500), _demand(100)]
    pool, instances = _world(2, [0, 0, 1], demands, cost=[9e9, 1e6, 0])
    assert [move.instance for move in plan(pool, instances, _AT_ONCE).moves] == ["ins_1"]


def test_a_little_above_its_limits_a_host_is_left_alone() -> None:
    pool, instances = _world(2, [0, 0, 1], [_demand(470), _demand(470), _demand(800)])
    assert _full(pool)[0] > 1
    assert plan(pool, instances, _AT_ONCE) == RebalanceProposal()


def test_a_hot_host_opens_an_empty_one_only_when_no_other_has_room() -> None:
    demands = [_demand(500), _demand(500), _demand(800)]
    pool, instances = _world(3, [0, 0, 1], demands)
    assert [move.target for move in plan(pool, instances, _AT_ONCE).moves] == [102]


def test_a_hot_host_that_nobody_can_help_is_told_and_nothing_is_emptied() -> None:
    pool, instances = _world(2, [0, 0, 1], [_demand(800), _demand(700), _demand(300)])
    found = plan(pool, instances, _AT_ONCE)
    assert found.moves == ()
    assert found.notes[0].startswith("host-0 stays at 167% of its limits")


def test_a_cold_host_is_emptied_onto_hosts_in_use() -> None:
    demands = [_demand(100), _demand(100), _demand(500)]
    pool, instances = _world(3, [0, 0, 1], demands)
    found = plan(pool, instances, _AT_ONCE)
    assert {(move.source, move.target) for move in found.moves} == {(100, 101)}
    assert found.emptied == (100,)
    assert sum(move.gain for move in found.moves) == 1
    assert found.moves[0].reason == "host-0 can be emptied; host-1 takes it"


def test_a_cold_host_is_emptied_as_a_whole_or_not_at_all() -> None:
    pool, instances = _world(2, [0, 0, 1], [_demand(50), _demand(350), _demand(600)])
    assert plan(pool, instances, _AT_ONCE) == RebalanceProposal()


def test_a_host_with_much_to_copy_is_not_emptied() -> None:
    demands = [_demand(100), _demand(500)]
    pool, instances = _world(2, [0, 1], demands, cost=[200 * _GIB, 0])
    assert plan(pool, instances, _AT_ONCE) == RebalanceProposal()


def test_who_moved_lately_stays_and_so_does_the_whole_cold_host() -> None:
    pool, instances = _world(2, [0, 0, 1], [_demand(100), _demand(100), _demand(500)])
    tired = replace(instances, rested=np.array([60, 1e9, 1e9], np.float32))
    assert plan(pool, tired) == RebalanceProposal()


def test_the_budget_bounds_a_plan_and_half_a_host_is_never_emptied() -> None:
    pool, instances = _world(2, [0, 0, 1], [_demand(100), _demand(100), _demand(500)])
    assert plan(pool, instances, replace(_AT_ONCE, moves=1)).moves == ()


def test_a_chain_is_cut_to_its_ends() -> None:
    """host-0 goes onto host-1 and host-1 is emptied in turn: nobody moves twice."""
    demands = [_demand(50)] + [_demand(100)] * 2 + [_demand(500)]
    pool, instances = _world(3, [0, 1, 1, 2], demands)
    found = plan(pool, instances, _AT_ONCE)
    assert {move.target for move in found.moves} == {102}
    assert len({move.instance for move in found.moves}) == len(found.moves) == 3


def test_dear_hosts_are_emptied_first() -> None:
    pool, instances = _world(2, [0, 1], [_demand(300), _demand(200)])
    costs = np.array([2.0, 1.0])
    assert [m.source for m in plan(pool, instances, _AT_ONCE, host_costs=costs).moves] == [100]
    assert [m.source for m in plan(pool, instances, _AT_ONCE).moves] == [101]


def test_a_host_whose_memory_is_full_just_now_is_hot_whatever_was_expected() -> None:
    demands = [_demand(200, memory=16 * _GIB), _demand(200, memory=16 * _GIB), _demand(300)]
    pool, instances = _world(2, [0, 0, 1], demands)
    full = replace(pool, busy=np.array([[0.3, 0.99], [0.3, 0.1]], np.float32))
    moves = plan(full, instances, _AT_ONCE).moves
    assert [(move.source, move.target) for move in moves] == [(100, 101)]
    busy = replace(pool, busy=np.array([[0.99, 0.5], [0.3, 0.1]], np.float32))
    emptied = plan(busy, instances, _AT_ONCE).moves
    assert all("can be emptied" in move.reason for move in emptied)


def test_a_cordoned_or_unseen_host_takes_nothing() -> None:
    pool, instances = _world(2, [0, 1], [_demand(100), _demand(500)])
    only_first = np.array([True, False])
    assert plan(replace(pool, is_open=only_first), instances, _AT_ONCE).moves == ()
    assert plan(replace(pool, is_seen=only_first), instances, _AT_ONCE).moves == ()


def test_with_many_hosts_all_are_looked_at_before_one_is_opened() -> None:
    """Only the 256 fullest are judged at first; here none of them takes it and the 301st does."""
    full = [_demand(880)] * 300
    demands = [*full, _demand(500), _demand(400), _demand(400), _demand(300)]
    pool, instances = _world(303, [*range(300), 300, 301, 301, 301], demands)
    moves = plan(pool, instances, _AT_ONCE).moves
    assert [(move.source, move.target) for move in moves] == [(401, 400)]


def test_nothing_to_do_is_an_empty_plan() -> None:
    pool, instances = _world(2, [], [])
    assert plan(pool, instances) == RebalanceProposal()
    assert plan(*_world(0, [], [])) == RebalanceProposal()


@st.composite
def _worlds(draw: st.DrawFn) -> tuple[PoolView, Instances]:
    hosts = draw(st.integers(2, 8))
    one = st.tuples(st.integers(0, hosts - 1), st.integers(1, 450), st.integers(0, 60))
    drawn = draw(st.lists(one, min_size=1, max_size=40))
    demands = [_demand(float(cpu), float(swing)) for _, cpu, swing in drawn]
    return _world(hosts, [host for host, _, _ in drawn], demands)


@settings(max_examples=200, deadline=None)
@given(_worlds())
def test_no_plan_makes_a_pool_worse(world: tuple[PoolView, Instances]) -> None:
    pool, instances = world
    found = plan(pool, instances, _AT_ONCE)
    after, _ = _after(pool, instances, found)
    before_full, after_full = _full(pool), _full(after)
    # Nobody is pushed above the limits, and hosts above them do not get worse.
    assert (after_full <= np.maximum(before_full, 1.0) + 1e-4).all()
    opened = set(np.flatnonzero((after.instances > 0) & (pool.instances == 0)).tolist())
    # A host is opened for relief alone.
    assert not opened or (before_full > 1.05).any()
    assert {move.target for move in found.moves}.isdisjoint(found.emptied)
    assert len({move.instance for move in found.moves}) == len(found.moves)


@settings(max_examples=200, deadline=None)
@given(_worlds())
def test_once_carried_out_a_plan_has_nothing_to_add(world: tuple[PoolView, Instances]) -> None:
    pool, instances = world
    found = plan(pool, instances, _AT_ONCE)
    assert found == plan(pool, instances, _AT_ONCE)
    again = plan(*_after(pool, instances, found), _AT_ONCE)
    assert again.moves == ()


@settings(max_examples=100, deadline=None)
@given(_worlds())
def test_what_placing_does_rebalancing_leaves(world: tuple[PoolView, Instances]) -> None:
    """Everything placed one by one, as place() says: no host is hot, and a second plan undoes nothing."""
    pool, instances = world
    empty = replace(pool, load=np.zeros_like(pool.load), instances=np.zeros(len(pool), np.int64))
    host = np.full(len(instances), -1, np.int64)
    for row, name in enumerate(instances.ids):
        demand = instances.demands[row]
        now = replace(
            empty,
            load=np.asfortranarray(loads_by_host(instances.demands, host, len(pool))),
            instances=np.bincount(host[host >= 0], minlength=len(pool)),
        )
        decision = place(InstanceView(id=name, demand=demand), now)
        if isinstance(decision, Placed):
            host[row] = decision.candidates[0] - 100
    at = replace(instances, host=host)
    load = np.asfortranarray(loads_by_host(at.demands, host, len(pool)))
    counts = np.bincount(host[host >= 0], minlength=len(pool))
    found = plan(replace(pool, load=load, instances=counts), at, _AT_ONCE)
    assert all("can be emptied" in move.reason for move in found.moves)


def test_a_recorded_week_counts_as_placing_counts_it() -> None:
    """A host whose week is milder than its shapes is not hot; one whose week is worse is."""
    pool, instances = _world(2, [0, 0, 1], [_demand(500), _demand(500), _demand(300)])
    beyond = np.zeros((2, HISTORY_WIDTH), np.float32)
    beyond[:, MEANS] = np.array([[-400.0], [0.0]], np.float32)
    assert plan(replace(pool, beyond=beyond), instances, _AT_ONCE).moves == ()
    beyond[:, MEANS] = np.array([[10.0], [0.0]], np.float32)
    assert len(plan(replace(pool, beyond=beyond), instances, _AT_ONCE).moves) == 1


def test_arrays_given_are_not_written_to() -> None:
    pool, instances = _world(3, [0, 0, 1], [_demand(100), _demand(100), _demand(500)])
    load, host = pool.load.copy(), instances.host.copy()
    plan(pool, instances, _AT_ONCE)
    assert (pool.load == load).all()
    assert (instances.host == host).all()
    assert (pool.load[:, CPU_SQUARE] == 0).all()
    assert (pool.load[0, CPU_MEAN] == 200).all()
