"""The scheduler's rules, as tables, and what must hold whatever it is given."""

import builtins
import socket
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers import scheduler
from workers.scheduler import Decision, InstanceView, Placed, PoolView, Resources, Unplaced
from workers.scheduler.demand_vector import CPU_MEAN, as_load
from workers.scheduler.place import SHOWN_REFUSALS, sentences
from workers.scheduler.profiles.history import HISTORY_WIDTH
from workers.scheduler.types import HostView

MIB = 1024 * 1024
SHOP = InstanceView("ins_a", Resources(10, 8 * MIB, 0).demand())


def host(
    pk: int, *, booked: int = 0, offered: int = 100, busy_millis: int = 0, **changes: object
) -> HostView:
    values: dict[str, object] = {
        "id": pk,
        "name": f"h{pk}",
        "is_open": True,
        "is_seen": True,
        "offered": Resources(1000, offered * MIB, 1000 * MIB),
        "booked": Resources(busy_millis, booked * MIB, 0),
        **changes,
    }
    return HostView(**values)  # type: ignore[arg-type]


def place(instance: InstanceView, hosts: Sequence[HostView]) -> Decision:
    return scheduler.place(instance, PoolView.of(hosts))


def test_the_fullest_host_with_room_comes_first() -> None:
    decision = place(SHOP, [host(1), host(2, booked=80), host(3, booked=95)])
    assert isinstance(decision, Placed)
    assert decision.candidates == (2, 1)
    assert decision.reasons == (
        "h2: best fit of 2 with room, 88% full with it",
        "h3: has no room: memory (95 of 100 MiB planned, 8 more wanted)",
    )


def test_equal_hosts_are_taken_by_id() -> None:
    decision = place(SHOP, [host(3), host(1), host(2)])
    assert isinstance(decision, Placed)
    assert decision.candidates == (1, 2, 3)


def test_the_scarcest_resource_decides_how_full_a_host_is() -> None:
    busy = host(1, booked=10, busy_millis=800)
    decision = place(SHOP, [host(2, booked=50), busy])
    assert isinstance(decision, Placed)
    assert decision.candidates == (1, 2)


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (host(1, is_seen=False), "has not reported in the last seconds"),
        (host(1, is_open=False), "is cordoned"),
        (host(1, disk_trouble="the store is 96 % full"), "disk: the store is 96 % full"),
        (host(1, booked=93), "has no room: memory (93 of 100 MiB planned, 8 more wanted)"),
        (
            host(1, busy_millis=895),
            "has no room: processor (895 of 900 millicores planned, 10 more wanted)",
        ),
    ],
)
def test_a_refusal_is_a_sentence(view: HostView, reason: str) -> None:
    decision = place(SHOP, [view])
    assert isinstance(decision, Unplaced)
    assert [one.reason for one in decision.refusals] == [reason]


def test_a_pool_that_cannot_be_seen_is_not_called_full() -> None:
    unseen = place(SHOP, [host(1, is_seen=False)])
    full = place(SHOP, [host(1, is_seen=False, booked=100), host(2, booked=100)])
    nobody = place(SHOP, [])
    assert isinstance(unseen, Unplaced)
    assert isinstance(full, Unplaced)
    assert isinstance(nobody, Unplaced)
    assert (unseen.is_unseen, full.is_unseen, nobody.is_unseen) == (True, False, True)


def test_a_long_list_of_refusals_is_cut_and_counted() -> None:
    decision = place(SHOP, [host(pk, booked=100) for pk in range(SHOWN_REFUSALS + 5)])
    assert isinstance(decision, Unplaced)
    assert sentences(decision.refusals, decision.hidden)[-1] == "and 5 more hosts refused"


_hosts = st.lists(
    st.builds(
        host,
        pk=st.integers(1, 1000),
        booked=st.integers(0, 120),
        offered=st.integers(0, 110),
        is_open=st.booleans(),
        is_seen=st.booleans(),
    ),
    unique_by=lambda view: view.id,
)
_demands = st.builds(
    Resources, st.integers(0, 1200), st.integers(0, 110).map(lambda n: n * MIB), st.just(0)
)


@given(_hosts, _demands)
def test_no_candidate_would_be_overbooked_closed_or_unseen(
    hosts: list[HostView], demand: Resources
) -> None:
    decision = place(InstanceView("ins_a", demand.demand()), hosts)
    by_id = {view.id: view for view in hosts}
    for pk in decision.candidates if isinstance(decision, Placed) else ():
        host = by_id[pk]
        assert host.is_open
        assert host.is_seen
        assert host.booked.cpu_millis + demand.cpu_millis <= host.offered.cpu_millis
        assert host.booked.memory_bytes + demand.memory_bytes <= host.offered.memory_bytes


@given(_hosts, _demands)
def test_the_answer_does_not_depend_on_the_order_of_hosts(
    hosts: list[HostView], demand: Resources
) -> None:
    shop = InstanceView("ins_a", demand.demand())
    first, second = place(shop, hosts), place(shop, hosts[::-1])
    assert type(first) is type(second)
    if isinstance(first, Placed) and isinstance(second, Placed):
        assert first.candidates == second.candidates


def test_a_decision_touches_neither_files_nor_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the scheduler must not do this")

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(socket, "socket", refuse)
    assert isinstance(place(SHOP, [host(1)]), Placed)


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (host(1, starting=8), "is starting 8 others just now"),
        (host(1, instances=5, most_instances=5), "holds 5 instances, its most"),
        (
            host(1, busy=(0.2, 0.97)),
            "is busy: 97% of its memory is in use just now",
        ),
    ],
)
def test_a_host_that_has_enough_to_do_is_refused(view: HostView, reason: str) -> None:
    decision = place(SHOP, [view])
    assert isinstance(decision, Unplaced)
    assert [one.reason for one in decision.refusals] == [reason]


def test_a_processor_that_is_busy_at_the_moment_refuses_nobody() -> None:
    assert isinstance(place(SHOP, [host(1, busy=(0.99, 0.2))]), Placed)


def test_a_storm_of_starts_is_spread_before_it_is_refused() -> None:
    decision = place(SHOP, [host(1, starting=6), host(2, starting=1)])
    assert isinstance(decision, Placed)
    assert decision.candidates == (2, 1)


def test_shops_that_are_busy_at_other_hours_share_a_host() -> None:
    morning = Resources(0, 8 * MIB, 0).demand()
    morning[CPU_MEAN][8] = 700
    evening = morning.copy()
    evening[CPU_MEAN] = np.roll(morning[CPU_MEAN], 12)
    full = host(1, load=as_load(morning))
    assert isinstance(place(InstanceView("ins_e", evening), [full]), Placed)
    refused = place(InstanceView("ins_m", morning), [full])
    assert isinstance(refused, Unplaced)
    assert (
        refused.refusals[0].reason
        == "has no room: processor (700 of 900 millicores planned, 700 more wanted)"
    )


def test_a_recorded_week_admits_what_the_shapes_refuse_and_the_other_way_round() -> None:
    shop = Resources(300, 8 * MIB, 0).demand()
    calm = np.zeros(HISTORY_WIDTH, np.float32)
    calm[:168] = -100
    wild = calm.copy()
    wild[5] = 799
    swings = as_load(Resources(700, 0, 0).demand())
    quiet = host(1, load=swings, beyond=calm)
    loud = host(2, load=as_load(Resources(1, 0, 0).demand()), beyond=wild)
    decision = place(InstanceView("ins_a", shop), [quiet, loud])
    assert isinstance(decision, Placed)
    assert decision.candidates == (1,)
    assert decision.reasons[1].startswith("h2: has no room: processor (800 of 900")


def test_every_host_can_be_asked_why_not_that_one() -> None:
    hosts = [host(1), host(2, booked=80), host(3, booked=95), host(4, is_open=False)]
    found = scheduler.explain(SHOP, PoolView.of(hosts))
    assert [(one.host_name, one.rank) for one in found] == [
        ("h2", 1),
        ("h1", 2),
        ("h3", 0),
        ("h4", 0),
    ]
    assert found[0].score > found[1].score > 0
    assert found[0].reason.startswith("has room, 88% full with it (full 0.88, ")
    assert found[2].reason == "has no room: memory (95 of 100 MiB planned, 8 more wanted)"
    assert found[3].reason == "is cordoned"


@given(_hosts, _demands)
def test_why_not_agrees_with_the_decision(hosts: list[HostView], demand: Resources) -> None:
    shop = InstanceView("ins_a", demand.demand())
    decision, verdicts = place(shop, hosts), scheduler.explain(shop, PoolView.of(hosts))
    ranked = tuple(one.host_id for one in verdicts if one.rank)
    assert ranked == (decision.candidates if isinstance(decision, Placed) else ())
    assert {one.host_id for one in verdicts} == {one.id for one in hosts}
    assert all(0 <= one.score <= 1 and one.reason for one in verdicts)


def test_a_full_pool_of_thousands_is_refused_in_a_few_sentences() -> None:
    decision = place(SHOP, [host(pk, booked=100) for pk in range(2000)])
    assert isinstance(decision, Unplaced)
    assert len(decision.refusals) == SHOWN_REFUSALS
    assert decision.hidden == 2000 - SHOWN_REFUSALS
