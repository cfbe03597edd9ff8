"""What operators do to hosts: nothing goes while it holds anything, nothing lost stays believed."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from tenants.accounts import tokens
from tenants.catalogue import images
from tenants.core.models import Transition
from tenants.errors import FieldError, StateConflictError
from tenants.placement import placements
from tenants.placement.bookings import Booking
from tenants.placement.models import Placement
from tenants.pool import hosts, registration
from tenants.pool.models import Host, HostReport
from tenants.pool.registration import MachineResources
from tests.factories import MIB, make_host, make_shop, race

pytestmark = pytest.mark.django_db
BOOKING = Booking(10, 9 * MIB, 16 * MIB)


def report(host: Host, *, seconds_ago: float) -> None:
    HostReport.objects.update_or_create(
        host=host,
        defaults={
            "seen_at": Now() - timedelta(seconds=seconds_ago),
            "boot_id": "b",
            "sequence": 1,
            "digest": "d",
        },
    )


def place(host: Host) -> None:
    Placement.objects.create(
        instance=make_shop().operation.instance,
        host=host,
        port=10000,
        cpu_millis=10,
        memory_bytes=9 * MIB,
        disk_bytes=16 * MIB,
    )


def test_a_cordoned_host_is_given_nothing_until_it_is_open_again() -> None:
    host = make_host()
    instance = make_shop().operation.instance
    hosts.cordon(host, by="olga")
    hosts.cordon(host, by="olga")
    assert placements.reserve(instance, host.pk, BOOKING, reasons=[]) is None
    hosts.uncordon(host, by="olga")
    assert placements.reserve(instance, host.pk, BOOKING, reasons=[]) is not None
    told = (
        Transition.objects.filter(subject="host").order_by("pk").values_list("new_state", "reason")
    )
    assert list(told) == [("cordoned", "cordoned by olga"), ("open", "opened by olga")]


def test_a_host_that_holds_anything_stays_and_the_numbers_are_told() -> None:
    host = make_host()
    place(host)
    with pytest.raises(StateConflictError) as refused:
        hosts.remove(host, by="olga")
    assert str(refused.value) == (
        "one holds 1 shop with 9 MiB of memory and 16 MiB of disk booked; drain it first"
    )
    assert Host.objects.count() == 1


def test_an_empty_host_goes_with_its_credentials() -> None:
    host = make_host(token_sha256=tokens.sha256("t"))
    report(host, seconds_ago=1)
    assert images.is_hosts_token(tokens.sha256("t"))
    hosts.remove(host, by="olga")
    assert not images.is_hosts_token(tokens.sha256("t"))
    assert not Host.objects.exists()
    kept = Host.ever.get()
    assert (kept.state, kept.epoch, kept.broker_secret_sha256) == ("removed", 2, "")
    assert not HostReport.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_removal_and_a_placement_at_once_leave_no_shop_on_nothing() -> None:
    host = make_host()
    instance = make_shop().operation.instance
    race(
        lambda: hosts.remove(Host.objects.get(), by="olga"),
        lambda: placements.reserve(instance, host.pk, BOOKING, reasons=[]),
    )
    is_out = Host.ever.get().state == "removed"
    assert is_out == (placements.open_placement(instance) is None)


def test_a_host_that_reports_is_not_forgotten() -> None:
    host = make_host()
    report(host, seconds_ago=5)
    with pytest.raises(StateConflictError, match="it is not lost"):
        hosts.forget(host, confirm="one", by="olga")


def test_a_silent_host_is_forgotten_once_its_shops_are_elsewhere() -> None:
    host = make_host()
    report(host, seconds_ago=60)
    place(host)
    with pytest.raises(StateConflictError, match="still holds 1 shop"):
        hosts.forget(host, confirm="one", by="olga")
    host.placements.update(until=Now())
    hosts.forget(host, confirm="one", by="olga")
    assert Host.ever.get().state == "removed"


def test_forgetting_wants_the_name_typed() -> None:
    with pytest.raises(FieldError, match="type the host's name"):
        hosts.forget(make_host(), confirm="yes", by="olga")


def test_what_is_said_of_a_host_is_checked_and_kept() -> None:
    host = make_host()
    hosts.edit(host, zone="tokyo-1", labels={"rack": "b4"}, reserve=MachineResources(500, MIB, MIB))
    kept = Host.objects.get()
    assert (kept.zone, kept.labels, kept.reserve_cpu_millis) == ("tokyo-1", {"rack": "b4"}, 500)
    hosts.edit(host, zone="tokyo-2")
    kept = Host.objects.get()
    assert (kept.zone, kept.labels) == ("tokyo-2", {"rack": "b4"})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"zone": "Tokyo 1"}, "zone"),
        ({"engine": "docker"}, "engine"),
        ({"labels": {"Rack": "b4"}}, "labels"),
        ({"labels": {"rack": "<b>"}}, "labels"),
        ({"labels": {f"k{n}": "" for n in range(33)}}, "labels"),
        ({"reserve": MachineResources(4000, 0, 0)}, "cpu_millis"),
    ],
)
def test_what_cannot_be_said_is_named(changes: dict[str, object], field: str) -> None:
    with pytest.raises(FieldError) as refused:
        hosts.edit(make_host(), **changes)  # type: ignore[arg-type]
    assert refused.value.field == field


def test_bin_up_does_not_bring_a_removed_host_back_by_itself() -> None:
    hosts.remove(make_host(), by="olga")
    assert registration.was_removed("one")
    assert not registration.was_removed("two")
