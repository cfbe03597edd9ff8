"""A full pool refuses at once, names what is scarce, tells operators, and opens again by itself."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tenants.catalogue.models import App, Plan, Release
from tenants.core import transitions
from tenants.core.models import Alarm
from tenants.errors import NoRoomError, SlugTakenError
from tenants.operations import attempts
from tenants.operations.models import Operation
from tenants.placement import shortages
from tenants.placement.bookings import Booking, cold_booking
from tenants.placement.models import Shortage
from tenants.pool.models import Host, HostReport
from tenants.shops import signups
from tenants.shops.models import Tenant
from tenants.shops.signups import SignUpForm
from tenants.states import InstanceState, OperationState, TenantState
from tests.factories import claim, make_catalogue, make_host, make_member, make_shop
from workers.reconcilers import capacity_check as looking
from workers.scheduler import Unplaced
from workers.scheduler.demand_vector import DEFAULT

pytestmark = pytest.mark.django_db
FORM = SignUpForm(slug="acme", shop_name="Acme", email="a@example.com")


def _heard(host: Host) -> Host:
    HostReport.objects.create(host=host, seen_at=Now(), boot_id="b", sequence=1, digest="d")
    return host


@pytest.mark.parametrize(
    ("scarce", "changes"),
    [
        ("processor", {"capacity_cpu_millis": 5}),
        ("memory", {"capacity_memory_bytes": 1}),
        ("disk", {"capacity_disk_bytes": 1}),
        ("instances", {"first_port": 10000, "last_port": 10009, "placed": 10}),
        ("open hosts", {"state": "cordoned"}),
    ],
)
def test_a_full_pool_names_what_is_scarce_before_anything_is_written(
    scarce: str, changes: dict[str, object]
) -> None:
    make_catalogue()
    make_host(**changes)  # type: ignore[arg-type]
    with pytest.raises(NoRoomError, match=scarce):
        signups.sign_up(FORM)
    assert not Tenant.objects.exists()


def test_those_who_wait_for_a_place_are_counted_before_the_next_is_taken() -> None:
    release = make_catalogue()
    booking = cold_booking(release, Plan.objects.get())
    make_host(capacity_memory_bytes=3 * booking.memory_bytes)
    for number in range(3):
        make_shop(f"shop-{number}")
    with pytest.raises(NoRoomError, match="memory"):
        make_shop("one-too-many")


@pytest.mark.django_db(transaction=True)
def test_at_the_end_of_the_room_as_many_are_taken_as_there_is_room_for() -> None:
    release = make_catalogue()
    booking = cold_booking(release, Plan.objects.get())
    make_host(capacity_memory_bytes=3 * booking.memory_bytes)

    def is_taken(number: int) -> bool:
        try:
            make_shop(f"shop-{number}")
        except NoRoomError:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(is_taken, range(16))) == 3


def test_those_who_wait_in_numbers_are_given_some_room_besides() -> None:
    release = make_catalogue()
    booking = cold_booking(release, Plan.objects.get())
    make_host(capacity_memory_bytes=(shortages.GROWTH + 2) * booking.memory_bytes)
    for number in range(shortages.GROWTH):
        make_shop(f"shop-{number}")
    make_shop("the-last-but-one-of-them")
    with pytest.raises(NoRoomError, match="memory"):
        make_shop("one-too-many")


def test_what_only_the_scheduler_knows_closes_the_form_and_opens_it_again() -> None:
    make_catalogue()
    host = _heard(make_host())
    # Two plans of nothing free: by the sums there is room, by the busiest hour there is none.
    Host.objects.filter(pk=host.pk).update(load=[0.0] * 12 + [4000.0] + [0.0] * 131)
    assert looking.look() == "no room for 1 kinds of shops"
    assert shortages.is_full("shop")
    alarm = Alarm.objects.get(key="pool_full.shop.starter")
    assert "processor: 4,000 of 3,600 millicores are booked" in alarm.message
    for _ in range(2):
        with pytest.raises(NoRoomError, match="processor"):
            signups.sign_up(FORM)
    looking.look()
    alarm.refresh_from_db()
    assert "2 sign-ups refused since" in alarm.message
    page = Client().get("/").content.decode()
    assert "All our places are taken right now" in page
    assert "disabled" in page
    assert "満" in Client(headers={"accept-language": "ja"}).get("/").content.decode()
    Host.objects.filter(pk=host.pk).update(load=[0.0] * 144)
    assert looking.look() == ""
    alarm.refresh_from_db()
    assert alarm.cleared_at is not None
    assert "All our places are taken right now" not in Client().get("/").content.decode()
    signups.sign_up(FORM)


def test_a_shortage_that_nobody_looks_at_any_more_turns_nobody_away() -> None:
    make_catalogue()
    _heard(make_host())
    shortages.note_full(
        App.objects.get().pk, Plan.objects.get().pk, scarce="memory", sentence="none"
    )
    with pytest.raises(NoRoomError):
        signups.sign_up(FORM)
    Shortage.objects.update(looked_at=Now() - timedelta(minutes=1))
    signups.sign_up(FORM)


def test_a_host_without_a_port_to_spare_is_full_and_not_busy_for_a_moment() -> None:
    release = make_catalogue()
    plan = Plan.objects.get()
    host = _heard(make_host(first_port=10000, last_port=10002, placed=2))
    assert shortages.left(cold_booking(release, plan)).count == 1
    assert host.pk in looking.decide(release, plan).candidates  # type: ignore[union-attr]
    Host.objects.filter(pk=host.pk).update(placed=3)
    found = looking.decide(release, plan)
    assert isinstance(found, Unplaced)
    assert (found.why, found.scarce) == ("full", "instances")
    assert "holds 3 instances, its most" in found.told
    Host.objects.filter(pk=host.pk).update(last_port=10003)  # a wider range, taken over by bin/up
    assert not isinstance(looking.decide(release, plan), Unplaced)


def test_silent_hosts_neither_open_nor_close_anything() -> None:
    make_catalogue()
    make_host()
    assert looking.look() == ""
    assert not Shortage.objects.exists()


def test_a_look_at_a_pool_costs_the_same_however_many_hosts_there_are() -> None:
    booking = cold_booking(make_catalogue(), Plan.objects.get())
    counts = []
    for number in (1, 50):
        for one in range(number):
            make_host(f"host-{number}-{one}")
        with CaptureQueriesContext(connection) as queries:
            assert shortages.left(booking).count
        counts.append(len(queries))
    assert counts == [1, 1]


def test_the_record_and_the_scheduler_plan_with_the_same_shares() -> None:
    assert DEFAULT.shares == (shortages.PROCESSOR_SHARE, 1.0, 1.0, shortages.PROCESSOR_SHARE)
    assert DEFAULT.busy_share == shortages.BUSY_SHARE


def test_the_record_has_room_for_as_many_as_the_scheduler_places() -> None:
    release = make_catalogue()
    Release.objects.update(prior_cpu_millis=0.3)
    release.refresh_from_db()
    host = _heard(make_host(cpu_millis=2))
    booking = cold_booking(release, Plan.objects.get())
    assert shortages.left(booking).count == 5  # 1.8 of 0.3 each
    assert booking == Booking(0.3125, booking.memory_bytes, booking.disk_bytes)
    assert host.pk in looking.decide(release, Plan.objects.get()).candidates  # type: ignore[union-attr]


def _failed(email: str = "") -> tuple[Operation, SignUpForm]:
    member = make_member(email or "owner@example.com")
    made = make_shop("acme", member=member)
    attempts.fail(claim(made), code="no_room", message="no host has room")
    transitions.move(made.tenant, TenantState.FAILED, reason="no host has room")
    operation = Operation.objects.get(pk=made.operation.pk)
    transitions.move(operation.instance, InstanceState.FAILED, reason="no host has room")
    return operation, replace(FORM, shop_name="Acme again", email="")


def test_the_owner_of_a_sign_up_that_failed_asks_for_the_same_address_again() -> None:
    failed, form = _failed()
    owner = failed.requested_by
    assert owner is not None
    again = signups.sign_up(form, member=owner)
    assert again.operation.pk == failed.pk
    assert again.operation.state == OperationState.PENDING
    assert (again.tenant.shop_name, again.tenant.state) == ("Acme again", TenantState.REQUESTED)
    assert Tenant.objects.count() == 1


def test_nobody_else_gets_the_address_of_a_sign_up_that_failed() -> None:
    _, form = _failed()
    with pytest.raises(SlugTakenError):
        signups.sign_up(form, member=make_member("other@example.com"))
    with pytest.raises(SlugTakenError):
        signups.sign_up(replace(form, email="owner@example.com"))
