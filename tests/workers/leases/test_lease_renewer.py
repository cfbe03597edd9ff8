"""Leases are renewed while they are held, and not a beat longer."""

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

import pytest
from django.db import connection
from django.db.models.functions import Now

from tenants.operations import leases
from tenants.operations.models import Operation
from tests.workers.conftest import World
from workers.leases.lease_renewer import LeaseRenewer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def heart() -> Iterator[LeaseRenewer]:
    yield LeaseRenewer(beat_seconds=0.05)
    time.sleep(0.2)  # the thread closes its connection after the last beat


def lease_end(operation: Operation) -> datetime | None:
    return Operation.objects.values_list("lease_until", flat=True).get(pk=operation.pk)


def test_a_held_lease_moves_on_and_a_released_one_does_not(
    world: World, heart: LeaseRenewer
) -> None:
    operation = world.sign_up()
    lease = leases.claim(operation.pk, owner="me")
    assert lease is not None
    first = lease_end(operation)
    with heart.hold(lease, partial(leases.renew, lease)):
        time.sleep(0.3)
        later = lease_end(operation)
    assert first is not None
    assert later is not None
    assert later > first
    time.sleep(0.15)
    after = lease_end(operation)
    time.sleep(0.2)
    assert lease_end(operation) == after


def test_a_lease_is_not_renewed_past_the_deadline(world: World, heart: LeaseRenewer) -> None:
    operation = world.sign_up()
    lease = leases.claim(operation.pk, owner="me")
    assert lease is not None
    Operation.objects.update(deadline_at=Now() + timedelta(seconds=1))
    first = lease_end(operation)
    with heart.hold(lease, partial(leases.renew, lease)):
        time.sleep(0.3)
    assert lease_end(operation) == first


def test_a_lost_lease_is_let_go(world: World, heart: LeaseRenewer) -> None:
    operation = world.sign_up()
    lease = leases.claim(operation.pk, owner="me")
    assert lease is not None
    with heart.hold(lease, partial(leases.renew, lease)):
        Operation.objects.update(lease_until=Now() - timedelta(seconds=1))
        assert leases.claim(operation.pk, owner="another") is not None
        taken = lease_end(operation)
        time.sleep(0.3)
        assert not heart._held
    assert lease_end(operation) == taken


def test_many_leases_take_one_thread(world: World, heart: LeaseRenewer) -> None:
    before = threading.active_count()
    taken = [leases.claim(world.sign_up(f"shop-{n}").pk, owner="me") for n in range(5)]
    held = [heart.hold(lease, partial(leases.renew, lease)) for lease in taken if lease is not None]
    for one in held:
        one.__enter__()
    assert threading.active_count() == before + 1
    for one in held:
        one.__exit__(None, None, None)
    connection.close()


def test_one_lease_that_cannot_be_renewed_ends_nobody_elses_renewal(heart: LeaseRenewer) -> None:
    renewed = threading.Event()

    def fail() -> None:
        raise RuntimeError("a fault of ours")

    with heart.hold("broken", fail), heart.hold("well", renewed.set):
        assert renewed.wait(10)
        renewed.clear()
        assert renewed.wait(10)
