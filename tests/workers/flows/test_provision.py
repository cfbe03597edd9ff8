"""A sign-up's operation, walked by the real flow on a host and edges in memory."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from runtime.errors import (
    CommandFailedError,
    ExitedError,
    HostBusyError,
    HostUnreachableError,
    ImageUnknownError,
    OutcomeUnknownError,
)
from runtime.specs import Fence
from runtime.statuses import ContainerState
from tenants.core.models import FreezeSwitch, Transition
from tenants.operations import attempts, leases, operations
from tenants.operations.leases import Lease
from tenants.operations.models import Operation
from tenants.placement import bookings, placements
from tenants.placement.models import Decision, Placement
from tenants.pool.models import Edge, Host, HostReport
from tenants.shops import removals, repeats
from tenants.shops.models import Instance, Tenant
from tenants.states import HostHealth, InstanceState, OperationState, StepState, TenantState
from tests.support.working import work
from tests.workers.conftest import MIB, World, make_edge, make_host
from workers.flows import clients
from workers.flows.running.flow import Context
from workers.flows.steps import routing
from workers.flows.tables import TABLES
from workers.pool import reader

HOSTNAME = "acme.localhost"


def test_a_sign_up_ends_in_a_running_shop(world: World) -> None:
    operation = world.sign_up()
    assert world.run(operation) == "done"
    placement = Placement.objects.get()
    instance, tenant = Instance.objects.get(), Tenant.objects.get()
    assert (instance.state, tenant.state) == (InstanceState.RUNNING, TenantState.LIVE)
    assert operation.state == OperationState.SUCCEEDED
    assert {step.state for step in operation.steps.all()} == {StepState.DONE}
    assert world.edges.routes == {HOSTNAME: f"acme@100.96.0.1:{placement.port}"}
    status = world.driver.status(instance.public_id)
    assert (status.state, status.published_port) == (ContainerState.RUNNING, placement.port)
    assert status.fence == Fence(1, operation.fence)
    assert Host.objects.get().booked_memory_bytes == 64 * MIB


def test_the_shop_is_told_who_it_is_and_never_the_secret(world: World) -> None:
    world.run(world.sign_up())
    tenant = Tenant.objects.get()
    env = dict(world.driver._held[Instance.objects.get().public_id].spec.env)
    assert env == {
        "PORT": "8000",
        "STOA_TENANT": "acme",
        "STOA_SHOP_NAME": "Shop acme",
        "STOA_LANGUAGE": "en",
        "STOA_CURRENCY": "EUR",
        "STOA_PUBLIC_URL": "http://acme.localhost:8080",
        "STOA_FIRST_LOGIN_HASH": tenant.first_login.hash,
    }


def test_a_sign_up_costs_at_most_21_queries(world: World) -> None:
    operation = world.sign_up()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert work(operation.pk, world.clients) == "done"
    asked = [q["sql"] for q in queries if not q["sql"].startswith(("SAVEPOINT", "RELEASE"))]
    assert len(asked) <= 21, "\n".join(asked)


def test_a_decision_says_why(world: World) -> None:
    make_host("small", memory_mib=10)
    world.run(world.sign_up())
    decision = Decision.objects.get()
    assert (decision.outcome, decision.host_name) == ("placed", "local")
    assert decision.reasons[0] == "local: best fit of 1 with room, 6% full with it"
    assert "small: has no room: memory" in decision.reasons[1]


def test_the_fullest_host_with_room_is_taken_first(world: World) -> None:
    make_host("tight", memory_mib=100)
    world.run(world.sign_up("one"))
    world.run(world.sign_up("two"))
    names = Placement.objects.order_by("pk").values_list("host__name", flat=True)
    assert list(names) == ["tight", "local"]


def test_a_host_that_filled_up_meanwhile_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = make_host("tight", memory_mib=100)
    stale = reader.read()
    Host.objects.filter(pk=tight.pk).update(booked_memory_bytes=100 * MIB)
    monkeypatch.setattr(reader, "read", lambda: stale)
    assert world.run(world.sign_up()) == "done"
    assert Placement.objects.get().host.name == "local"
    assert Host.objects.get(name="tight").booked_memory_bytes == 100 * MIB


def test_no_room_and_nobody_to_be_seen_are_different_answers(world: World) -> None:
    operation = world.sign_up()
    HostReport.objects.update(seen_at=Now() - timedelta(seconds=11))
    assert world.run(operation) == "waits"
    assert operation.error_code == "pool_unseen"
    HostReport.objects.update(seen_at=Now())
    Host.objects.update(capacity_memory_bytes=1)
    assert world.run(operation) == "failed"
    assert operation.error_code == "no_room"
    assert list(Decision.objects.order_by("pk").values_list("outcome", flat=True)) == [
        "unseen",
        "no_room",
    ]


def test_a_full_pool_refuses_at_once_and_names_what_is_scarce(world: World) -> None:
    operation = world.sign_up()
    Host.objects.update(capacity_memory_bytes=1)
    assert world.run(operation) == "failed"
    assert (operation.state, operation.error_code) == (OperationState.FAILED, "no_room")
    assert operation.error_message.startswith("no host has room for another shop; memory: 0 of 0")
    assert Tenant.objects.get().state == TenantState.FAILED


def test_a_start_slot_is_waited_for_without_using_anything_up(world: World) -> None:
    operation = world.sign_up()
    starting = [world.sign_up(f"shop-{number}") for number in range(8)]
    for one in starting:
        assert leases.claim(one.pk, owner="another") is not None
        placements.reserve(
            one.instance, Host.objects.get().pk, bookings.Booking(10, MIB, MIB), reasons=[]
        )
    for _ in range(3):
        assert world.run(operation) == "waits"
        assert (operation.error_code, operation.is_in_line) == ("busy", True)
    assert operation.attempts == 0
    assert not Decision.objects.filter(instance=operation.instance).exists()
    attempts.succeed(Lease(starting[0].pk, starting[0].tenant_id, 1, "provision"))
    assert world.run(operation) == "done"


def test_a_silent_host_that_may_have_room_is_waited_for_a_lost_one_is_not(world: World) -> None:
    operation = world.sign_up()
    silent = make_host("silent")
    HostReport.objects.filter(host=silent).update(seen_at=Now() - timedelta(seconds=11))
    Host.objects.filter(name="local").update(capacity_memory_bytes=1)
    assert world.run(operation) == "waits"
    assert operation.error_code == "pool_unseen"
    Host.objects.filter(pk=silent.pk).update(health=HostHealth.LOST)
    assert world.run(operation) == "failed"
    assert operation.error_code == "no_room"


def test_a_host_that_has_enough_calls_in_flight_is_waited_for(world: World) -> None:
    operation = world.sign_up()
    world.driver.fail_next("ensure_running", HostBusyError("8 calls are in flight"))
    assert world.run(operation) == "waits"
    assert (operation.error_code, operation.attempts) == ("busy", 0)
    assert world.run(operation) == "done"


def test_a_repeat_keeps_the_place_that_was_recorded(world: World) -> None:
    operation = world.sign_up()
    world.driver.fail_next("ensure_running", CommandFailedError("crun: no"))
    assert world.run(operation) == "again later"
    first = Placement.objects.get()
    tight = make_host("tight", memory_mib=100)  # now the better fit
    assert world.run(operation) == "done"
    assert Placement.objects.get() == first
    assert Host.objects.get(pk=tight.pk).booked_memory_bytes == 0


def test_an_outcome_that_is_not_known_is_cleared_up_by_asking_again(world: World) -> None:
    operation = world.sign_up()
    world.driver.fail_next("ensure_running", OutcomeUnknownError("no answer"))
    assert world.run(operation) == "again later"
    assert world.run(operation) == "done"
    assert len(world.driver.list()) == 1


def test_a_program_that_ends_is_tried_three_times_and_leaves_nothing(world: World) -> None:
    operation = world.sign_up()
    for _ in range(3):
        error = ExitedError("it ended with 3: no module named shop", exit_code=3)
        world.driver.fail_next("ensure_running", error)
    told = [world.run(operation) for _ in range(3)]
    assert told == ["again later", "again later", "failed"]
    assert operation.error_message == "it ended with 3: no module named shop"
    assert world.driver.list() == ()
    assert world.driver.volumes == set()
    assert Host.objects.get().booked_memory_bytes == 0
    assert not Placement.objects.filter(until=None).exists()
    assert Instance.objects.get().state == InstanceState.FAILED
    states = {step.name: step.state for step in operation.steps.all()}
    assert states["place"] == StepState.DONE
    assert states["start"] == StepState.FAILED


def test_what_cannot_be_cured_is_not_repeated(world: World) -> None:
    operation = world.sign_up()
    world.driver.fail_next("ensure_running", ImageUnknownError("no such image"))
    assert world.run(operation) == "failed"
    assert operation.attempts == 1


def test_a_failed_sign_up_can_be_tried_again(world: World) -> None:
    operation = world.sign_up()
    world.driver.fail_next("ensure_running", ImageUnknownError("no such image"))
    world.run(operation)
    repeats.retry(operation)
    assert world.run(operation) == "done"
    assert Tenant.objects.get().state == TenantState.LIVE


def test_a_host_that_may_still_run_it_keeps_its_place_until_it_answers(world: World) -> None:
    operation = world.sign_up()
    world.driver.fail_next("ensure_running", ImageUnknownError("no such image"))
    world.driver.fail_next("ensure_absent", HostUnreachableError("gone"))
    assert world.run(operation) == "waits"
    assert operation.error_code == "undoing"
    assert Placement.objects.filter(until=None).exists()
    assert Host.objects.get().booked_memory_bytes == 64 * MIB
    assert world.run(operation) == "failed"
    assert operation.error_code == "image_unknown"
    assert not Placement.objects.filter(until=None).exists()
    assert Host.objects.get().booked_memory_bytes == 0


def test_a_cancelled_sign_up_is_cleaned_up(world: World) -> None:
    operation = world.sign_up()
    world.driver.fail_next("ensure_running", CommandFailedError("crun: no"))
    world.run(operation)
    operations.cancel(operation)
    assert world.run(operation) == "cancelled"
    assert operation.state == OperationState.CANCELLED
    assert Tenant.objects.get().state == TenantState.FAILED
    assert Host.objects.get().booked_memory_bytes == 0


def test_a_worker_whose_lease_was_taken_over_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = world.sign_up()
    flow = TABLES["provision"]
    place = flow.steps[0]

    def taken_over(context: Context) -> None:
        place.act(context)
        Operation.objects.update(lease_until=Now() - timedelta(seconds=1))
        assert leases.claim(operation.pk, owner="another") is not None

    slow = replace(flow, steps=(replace(place, act=taken_over), *flow.steps[1:]))
    monkeypatch.setitem(TABLES, "provision", slow)
    assert work(operation.pk, world.clients) == "taken over"
    operation.refresh_from_db()
    assert (operation.state, operation.lease_owner) == (OperationState.RUNNING, "another")
    assert world.edges.routes == {}
    assert world.driver.list() == ()


def test_two_workers_never_hold_one_operation(world: World) -> None:
    operation = world.sign_up()
    assert leases.claim(operation.pk, owner="one") is not None
    assert work(operation.pk, world.clients) == "not ours"


def test_a_removal_beats_a_sign_up_in_the_middle(world: World) -> None:
    operation = world.sign_up()

    def removed_meanwhile(host: Host) -> object:
        removals.request(Tenant.objects.get())
        return world.driver

    slow = clients.Clients(removed_meanwhile, world.edges, world.clients.look)  # type: ignore[arg-type]
    assert work(operation.pk, slow) == "taken over"
    removal = Operation.objects.get(verb="remove")
    assert world.run(removal) == "done"
    assert Tenant.objects.get().state == TenantState.REMOVED
    assert world.driver.list() == ()
    assert Host.objects.get().booked_memory_bytes == 0


def test_no_edge_in_step_is_waited_for(world: World) -> None:
    Edge.objects.update(is_synced=False)
    operation = world.sign_up()
    assert world.run(operation) == "waits"
    assert (operation.error_code, operation.attempts) == ("edges_silent", 0)
    Edge.objects.update(is_synced=True)
    assert world.run(operation) == "done"


def test_every_ready_edge_must_take_the_route_and_a_late_one_does_not_matter(world: World) -> None:
    make_edge("second")
    world.edges.deaf.add("second")
    operation = world.sign_up()
    assert world.run(operation) == "waits"
    assert operation.error_message == "edge second: silent"
    Edge.objects.filter(name="second").update(seen_at=Now() - timedelta(seconds=11))
    assert world.run(operation) == "done"


def test_a_route_that_an_edge_refuses_is_told_as_that_and_not_tried_again(world: World) -> None:
    world.edges.refusing.add("local")
    operation = world.sign_up()
    assert world.run(operation) == "failed"
    assert operation.error_code == "edge_refused"
    assert operation.error_message == "refused: edge local: no such port"


def test_a_place_that_edges_cannot_lead_to_is_refused_before_anything_starts(world: World) -> None:
    accepts = {"networks": ["10.0.0.0/8"], "ports": [10000, 20000], "console": "localhost"}
    Edge.objects.update(accepts=accepts)
    operation = world.sign_up()
    assert world.run(operation) == "failed"
    assert operation.error_code == "route_refused"
    assert "lies outside 10.0.0.0/8" in operation.error_message
    assert world.driver.list() == ()
    assert not Placement.objects.filter(until=None).exists()


def test_a_shop_is_not_called_running_before_an_edge_gets_its_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "CHECK_SECONDS", 0.1)
    operation = world.sign_up()
    blind = clients.Clients(world.clients.driver_for, world.edges, lambda *_: 503)
    assert work(operation.pk, blind) == "again later"
    operation.refresh_from_db()
    assert (
        operation.error_message
        == "edge local answered 503 instead of 200 for acme.localhost/healthz"
    )
    assert Tenant.objects.get().state == TenantState.REQUESTED


def test_frozen_placements_wait_but_a_placed_shop_goes_on(world: World) -> None:
    operation, placed = world.sign_up("acme"), world.sign_up("placed")
    world.driver.fail_next("ensure_running", CommandFailedError("crun: no"))
    world.run(placed)
    FreezeSwitch.objects.create(name="placements", is_on=True)
    assert world.run(operation) == "waits"
    assert operation.error_code == "frozen"
    assert world.run(placed) == "done"


def test_an_operation_out_of_time_is_ended_with_its_last_reason(world: World) -> None:
    operation = world.sign_up()
    world.driver.fail_next("ensure_running", HostUnreachableError("host.local has not reported"))
    world.run(operation)
    Operation.objects.update(deadline_at=Now() - timedelta(seconds=1))
    assert world.run(operation) == "failed"
    assert operation.error_message == "host.local has not reported"
    assert Host.objects.get().booked_memory_bytes == 0


def test_a_fault_of_ours_is_recorded_and_the_lease_given_back(world: World) -> None:
    operation = world.sign_up()

    def broken(host: Host) -> object:
        raise ZeroDivisionError("oops")

    faulty = clients.Clients(broken, world.edges, world.clients.look)  # type: ignore[arg-type]
    assert work(operation.pk, faulty) == "again later"
    operation.refresh_from_db()
    assert (operation.error_code, operation.lease_until) == ("internal", None)


def test_every_change_of_state_is_in_the_journal(world: World) -> None:
    world.run(world.sign_up())
    rows = Transition.objects.order_by("pk").values_list("subject", "old_state", "new_state")
    assert list(rows) == [
        ("operation", "pending", "running"),
        ("instance", "requested", "provisioning"),
        ("operation", "running", "succeeded"),
        ("instance", "provisioning", "running"),
        ("tenant", "requested", "live"),
    ]
