"""Counts of tries: in PostgreSQL, by its clock, for all processes together."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from tenants.core import brakes
from tenants.core.brakes import Rule
from tenants.core.models import Brake
from tenants.errors import TooManyTriesError

pytestmark = pytest.mark.django_db

TEN = Rule("kind", "somebody", 10, 600)


def let_pass(seconds: float) -> None:
    """As if so much time had passed."""
    Brake.objects.update(paid_until=F("paid_until") - timedelta(seconds=seconds))


def test_so_many_tries_and_then_one_for_each_share_of_the_time() -> None:
    assert [brakes.seconds_to_wait(TEN) for _ in range(10)] == [0] * 10
    with pytest.raises(TooManyTriesError) as told:
        brakes.count(TEN)
    assert 50 <= told.value.wait_seconds <= 60
    let_pass(told.value.wait_seconds)
    brakes.count(TEN)
    assert brakes.seconds_to_wait(TEN) > 50
    let_pass(600)
    assert [brakes.seconds_to_wait(TEN) for _ in range(11)].count(0) == 10


def test_a_refused_try_is_counted_nowhere() -> None:
    other = Rule("kind", "else", 100, 600)
    for _ in range(10):
        brakes.count(TEN, other)
    before = Brake.objects.get(key=other.key).paid_until
    for _ in range(20):
        assert brakes.seconds_to_wait(TEN, other)
    assert Brake.objects.get(key=other.key).paid_until == before


def test_one_statement_however_many_rules_and_none_where_there_is_no_ceiling() -> None:
    with CaptureQueriesContext(connection) as asked:
        brakes.count(TEN, Rule("a", "", 5, 60), Rule("b", "", 5, 60), Rule("c", "", 0, 60))
    assert len(asked) == 1
    assert Brake.objects.count() == 3
    with CaptureQueriesContext(connection) as asked:
        brakes.count(Rule("c", "", 0, 60))
    assert not asked


@pytest.mark.parametrize("subject", ["a\x00b", "\ud800", "x" * 100_000, "' OR 1=1 --", ""])
def test_any_subject_counts(subject: str) -> None:
    rule = Rule("kind", subject, 2, 600)
    assert [brakes.seconds_to_wait(rule) > 0 for _ in range(3)] == [False, False, True]


def test_a_try_given_back_is_one_try_and_not_all() -> None:
    for _ in range(10):
        brakes.count(TEN)
    brakes.give_back(TEN)
    assert [brakes.seconds_to_wait(TEN) > 0 for _ in range(2)] == [False, True]


def test_counts_of_the_past_are_swept_and_those_that_hold_are_not() -> None:
    brakes.count(Rule("old", "", 10, 10))
    let_pass(20)
    for _ in range(10):
        brakes.count(TEN)
    assert brakes.forget_old(100) == 1
    assert brakes.seconds_to_wait(TEN) > 0


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("nonsense", "nonsense", True),
    ],
)
def test_an_address_stands_for_who_has_it(one: str, other: str, is_same: bool) -> None:
    assert (brakes.source(one) == brakes.source(other)) == is_same


@pytest.mark.django_db(transaction=True)
def test_many_at_once_are_counted_exactly() -> None:
    def tries(_: int) -> int:
        try:
            return sum(brakes.seconds_to_wait(TEN, Rule("b", "", 1000, 60)) == 0 for _ in range(5))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(tries, range(8))) == 10
