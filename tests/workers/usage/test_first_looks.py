"""The first instances of a kind are measured within a minute, and what they use is booked."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from runtime.units import MIB, Sample
from tenants.catalogue.models import App, Plan, Release
from tenants.placement.bookings import Booking, cold_booking
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.shops.models import Tenant
from tenants.usage import profiles
from tenants.usage.models import InstanceProfile, Prior
from tests.workers.conftest import World
from workers.usage import first_looks
from workers.usage.first_looks import Use, expected


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_looks, "BETWEEN_SECONDS", 0.2)


def _sample(instance_id: str, cpu_nanos: int, memory: int = 4 * MIB) -> Sample:
    return Sample(instance_id, cpu_nanos, 0, memory, memory, 0, 5, 0, 0, 60_000)


def _running(world: World, monkeypatch: pytest.MonkeyPatch, *, nanos: int, count: int = 1) -> None:
    """Shops without a measured prior that burn so much between the two samples."""
    Release.objects.update(prior_cpu_millis=None, prior_memory_bytes=None)
    for number in range(count):
        world.live_tenant(f"shop-{number}")
    Placement.objects.update(since=Now() - timedelta(seconds=11))
    ids = [*Placement.objects.values_list("instance__public_id", flat=True)]
    used = iter([0, nanos])
    monkeypatch.setattr(
        world.driver,
        "samples",
        lambda: (lambda spent: tuple(_sample(one, spent) for one in ids))(next(used)),
    )


def test_until_it_is_measured_a_program_is_booked_at_a_moderate_guess(world: World) -> None:
    Release.objects.update(prior_cpu_millis=None, prior_memory_bytes=None)
    plan = Plan.objects.get()
    found = cold_booking(Release.objects.get(), plan)
    assert found == Booking(20, 32 * MIB, 4 * MIB)


def test_what_the_first_ones_use_is_booked_for_them_and_for_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _running(world, monkeypatch, nanos=40_000, count=3)
    assert first_looks.look(world.clients) == "1 kinds looked at, 3 instances booked anew"
    prior = Prior.objects.get()
    assert (prior.is_early, prior.instances) == (True, 3)
    assert 0.25 <= prior.cpu_millis < 1  # finer than a millicore
    assert prior.memory_bytes == int(4 * MIB * 1.1 + MIB)
    host = Host.objects.get()
    assert host.booked_memory_bytes == 3 * prior.memory_bytes
    assert host.booked_disk_bytes == 3 * prior.disk_bytes < 6 * MIB
    world.live_tenant("next")
    assert Placement.objects.order_by("pk").last().cpu_millis == prior.cpu_millis  # type: ignore[union-attr]


def test_a_program_that_uses_much_more_than_was_guessed_fills_its_host_in_the_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _running(world, monkeypatch, nanos=100_000_000, count=2)  # half a core each
    before = Host.objects.get().booked_cpu_millis
    first_looks.look(world.clients)
    assert Host.objects.get().booked_cpu_millis > 10 * before


def test_a_kind_is_looked_at_again_after_minutes_and_not_once_it_is_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _running(world, monkeypatch, nanos=40_000)
    first_looks.look(world.clients)
    assert first_looks.look(world.clients) == ""
    Prior.objects.update(at=Now() - timedelta(minutes=4))
    monkeypatch.setattr(world.driver, "samples", lambda: ())
    assert first_looks.look(world.clients) == ""  # due, and nothing was seen
    tenant = Tenant.objects.get()
    profiles.store_prior(tenant.app_id, tenant.plan_id, Booking(2, MIB, MIB), instances=9)
    Prior.objects.update(at=Now() - timedelta(days=4))
    assert not list(first_looks._due())


def test_kinds_that_nothing_runs_of_take_nobodys_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _running(world, monkeypatch, nanos=40_000)
    for number in range(2 * first_looks.MOST_KINDS):  # before the shop's in every order there is
        app = App.objects.create(slug=f"aa-{number}", name="Of nobody")
        App.objects.filter(pk=app.pk).update(id=-1 - number)
    assert first_looks.look(world.clients).startswith("1 kinds looked at")
    assert Prior.objects.get().app.slug == "shop"


def test_who_has_a_profile_of_its_own_keeps_its_booking(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _running(world, monkeypatch, nanos=40_000)
    tenant, placement = Tenant.objects.get(), Placement.objects.get()
    InstanceProfile.objects.create(
        instance=placement.instance,
        app=tenant.app,
        plan=tenant.plan,
        packed=b"",
        folded_until=Now(),
    )
    assert first_looks.look(world.clients) == "1 kinds looked at, 0 instances booked anew"


def test_more_is_believed_at_once_and_less_half_of_the_way() -> None:
    plan = Plan(cpu_millis=1000, memory_bytes=64 * MIB, disk_bytes=256 * MIB)
    known = Booking(4.0, 20 * MIB, 10 * MIB)
    less = expected([Use(0.0, MIB, MIB)], plan, known)
    more = expected([Use(100.0, 40 * MIB, 40 * MIB)], plan, known)
    assert 2.0 <= less.cpu_millis <= 2.5
    assert less.memory_bytes > 10 * MIB
    assert more.cpu_millis == 150
    assert expected([Use(1e9, 1 << 40, 1 << 40)], plan, None) == Booking(1000, 64 * MIB, 256 * MIB)


def test_bookings_finer_than_a_millicore_add_up_and_come_off_again_exactly(world: World) -> None:
    Release.objects.update(prior_cpu_millis=0.3)
    for number in range(3):
        world.live_tenant(f"shop-{number}")
    host = Host.objects.get()
    assert host.load[0] == 3 * 0.3125
    assert host.booked_cpu_millis == 1
