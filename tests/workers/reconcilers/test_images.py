"""Hosts are told every hour which images to keep."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runtime.errors import HostUnreachableError
from tenants.catalogue import images as needed
from tenants.catalogue.models import App, Release
from tenants.pool.models import Host
from tenants.shops.models import Instance
from tenants.states import InstanceState
from tests.support.fake_driver import FakeDriver
from tests.workers.conftest import DIGEST, World, make_host
from workers.reconcilers import images


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def release(app: App, number: int, of: int | None = None) -> Release:
    return Release.objects.create(
        app=app, number=number, image_digest=digest(of or number), image_name="x"
    )


def test_the_newest_releases_of_each_app_and_those_that_live_are_kept(world: World) -> None:
    world.live_tenant()  # of release 1 of the shop
    shop = App.objects.get()
    other = App.objects.create(slug="other", name="Other")
    for number in range(2, 7):
        release(shop, number)
    release(other, 1, of=100)
    assert needed.to_keep() == sorted([DIGEST, *map(digest, (4, 5, 6, 100))])
    Instance.objects.update(state=InstanceState.RETIRED)
    assert needed.to_keep() == sorted(map(digest, (4, 5, 6, 100)))


def test_every_host_that_is_heard_is_told_and_one_that_fails_stops_no_other(world: World) -> None:
    drivers = {name: FakeDriver(frozenset({DIGEST, digest(9)})) for name in ("b", "c", "d")}
    for name in ("b", "c"):
        make_host(name)
    make_host("d", is_seen=False)
    drivers["local"] = world.driver
    drivers["b"].fail_next("collect_images", HostUnreachableError("cable is out"))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        told = images.carry_out(lambda host: drivers[host.name])
    assert told == "1 images removed"
    assert len(queries) == 4  # however many hosts there are
    assert Host.objects.count() == 4
    assert [drivers[name].kept for name in ("local", "b", "c", "d")] == [
        (DIGEST,),
        (),
        (DIGEST,),
        (),
    ]
    assert [one.digest for one in drivers["c"].images()] == [DIGEST]


def test_every_host_that_is_heard_gets_a_new_image_before_it_is_needed(world: World) -> None:
    drivers = {"local": world.driver, "b": FakeDriver(frozenset())}
    make_host("b")
    for driver in drivers.values():
        driver.sources.add(digest(7))
    drivers["b"].fail_next("ensure_image", HostUnreachableError("cable is out"))
    told = images.prefetch(digest(7), "", driver_for=lambda host: drivers[host.name])
    assert told == {"local": "", "b": "cable is out"}
    assert ("ensure_image", digest(7)) in world.driver.calls


@pytest.mark.django_db
def test_without_hosts_nothing_happens() -> None:
    assert images.carry_out(lambda _host: FakeDriver()) == ""
