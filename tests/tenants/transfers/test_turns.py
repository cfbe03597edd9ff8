"""One operation at a time holds the requests of a host's shops, whoever dies, sleeps or loses its session."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.db.models.functions import Now

from tenants.errors import LeaseLostError
from tenants.operations import leases
from tenants.operations.leases import Lease
from tenants.operations.models import Operation
from tenants.pool.models import Host
from tenants.states import OperationState
from tenants.transfers import turns
from tenants.transfers.models import HoldTurn
from tests.factories import claim, make_host, make_shop, race

pytestmark = pytest.mark.django_db


@pytest.fixture
def host(db: None) -> Host:
    return make_host()


@pytest.fixture
def first(db: None) -> Lease:
    return claim(make_shop("acme"))


@pytest.fixture
def second(db: None) -> Lease:
    return claim(make_shop("bakery"))


def run_out(lease: Lease) -> None:
    Operation.objects.filter(pk=lease.operation_id).update(
        lease_until=Now() - timedelta(seconds=1), run_after=Now()
    )


def claim_again(lease: Lease) -> Lease:
    run_out(lease)
    again = leases.claim(lease.operation_id, owner="the next")
    assert again is not None
    return again


def test_one_has_the_turn_until_it_gives_it_back(host: Host, first: Lease, second: Lease) -> None:
    assert turns.take(first, host.pk)
    assert turns.take(first, host.pk), "whoever has it may ask again"
    assert not turns.take(second, host.pk)
    turns.give_back(second)
    assert not turns.take(second, host.pk), "who has none gives none back"
    turns.give_back(first)
    assert turns.take(second, host.pk)


def test_each_host_has_a_turn_of_its_own(host: Host, first: Lease, second: Lease) -> None:
    assert turns.take(first, host.pk)
    assert turns.take(second, make_host("two").pk)


@pytest.mark.parametrize("state", [s for s in OperationState if s != OperationState.RUNNING])
def test_it_ends_with_the_attempt(host: Host, first: Lease, second: Lease, state: str) -> None:
    assert turns.take(first, host.pk)
    Operation.objects.filter(pk=first.operation_id).update(state=state)
    assert turns.take(second, host.pk)


def test_it_ends_with_the_lease_of_a_worker_that_died(
    host: Host, first: Lease, second: Lease
) -> None:
    assert turns.take(first, host.pk)
    run_out(first)
    assert turns.take(second, host.pk)
    leases.renew(first)  # it was only asleep
    assert not turns.take(first, host.pk), "the other has it meanwhile"


def test_a_renewed_lease_keeps_it(host: Host, first: Lease, second: Lease) -> None:
    assert turns.take(first, host.pk)
    run_out(first)
    leases.renew(first)
    assert not turns.take(second, host.pk)


def test_whoever_takes_the_operation_over_has_its_turn_too(
    host: Host, first: Lease, second: Lease
) -> None:
    assert turns.take(first, host.pk)
    again = claim_again(first)
    assert turns.take(again, host.pk)
    with pytest.raises(LeaseLostError):
        turns.take(first, host.pk)
    turns.give_back(first)
    assert not turns.take(second, host.pk), "the late one has given nothing back"


def test_a_worker_that_was_overtaken_gets_no_turn(host: Host, first: Lease) -> None:
    claim_again(first)
    with pytest.raises(LeaseLostError):
        turns.take(first, host.pk)
    assert not HoldTurn.objects.exists()


def test_who_waits_writes_nothing_and_asks_one_question(
    host: Host, first: Lease, second: Lease, django_assert_num_queries: object
) -> None:
    assert turns.take(first, host.pk)
    with connection.cursor() as cursor:
        cursor.execute("SELECT xmin, xmax FROM tenants_holdturn")
        before = cursor.fetchall()
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert not turns.take(second, host.pk)
    with connection.cursor() as cursor:
        cursor.execute("SELECT xmin, xmax FROM tenants_holdturn")
        assert cursor.fetchall() == before


@pytest.mark.django_db(transaction=True)
def test_of_many_at_one_moment_one_has_it() -> None:
    host = make_host()
    waiting = [claim(make_shop(f"shop-{number}")) for number in range(6)]
    for _ in range(5):
        HoldTurn.objects.all().delete()
        found = race(*(lambda lease=lease: turns.take(lease, host.pk) for lease in waiting))
        assert [found.count(False), found.count(True)] == [5, 1]


@pytest.mark.django_db(transaction=True)
def test_the_session_that_took_it_need_not_live() -> None:
    host, first, second = make_host(), claim(make_shop("acme")), claim(make_shop("bakery"))
    assert race(lambda: turns.take(first, host.pk)) == [True]  # in a session that has ended now
    assert not turns.take(second, host.pk)


def test_no_program_takes_a_lock_of_a_session() -> None:
    """One outlives a machine that lost its power, and is nobody's where transactions are pooled."""
    for part in ("controlplane", "tenants", "workers"):
        for path in (Path(__file__).parents[3] / part).rglob("*.py"):
            for line in path.read_text().splitlines():
                assert "pg_advisory_lock" not in line, path
                assert "pg_try_advisory_lock" not in line, path
