"""Places in the line, as pages and programs show them, at a cost that does not grow with watchers."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants.operations import line_places, progress
from tenants.operations.line_places import StartLine
from tenants.operations.models import Operation
from tenants.states import OperationState, Verb
from tests.factories import claim, make_shop

START = datetime(2026, 1, 1, tzinfo=UTC)


def _at(number: int) -> datetime:
    return START + timedelta(seconds=number)


def _line(people: int, urgent: int = 0, rate: float | None = None) -> StartLine:
    moments = [_at(number).timestamp() for number in range(max(people, urgent))]
    return StartLine(moments[:people], moments[:urgent], rate)


@pytest.fixture(autouse=True)
def _read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_places, "_read_at", float("-inf"))


def test_the_place_is_how_many_are_before() -> None:
    assert _line(10).place(Verb.PROVISION, _at(0)) == line_places.PlaceInLine(0, None)
    assert _line(10).place(Verb.PROVISION, _at(7)) == line_places.PlaceInLine(7, None)


def test_recoveries_come_before_people_but_at_most_three_before_each() -> None:
    assert _line(3, urgent=100).place(Verb.PROVISION, _at(0)).ahead == 3
    assert _line(3, urgent=100).place(Verb.PROVISION, _at(2)).ahead == 2 + 9
    assert _line(100, urgent=3).place(Verb.RECOVER, _at(0)).ahead == 0


def test_the_time_follows_from_the_starts_of_the_last_minute() -> None:
    assert _line(10, rate=2.0).place(Verb.PROVISION, _at(9)).seconds == 5


@pytest.mark.parametrize(
    ("before", "shown"), [(20, 20), (21, 30), (199, 200), (201, 300), (5000, 5000)]
)
def test_far_back_nobody_counts_and_pages_stay_as_they_are(before: int, shown: int) -> None:
    assert _line(before).place(Verb.PROVISION, _at(before)).ahead == shown


@pytest.mark.django_db
def test_a_thousand_watchers_cost_two_statements_a_second() -> None:
    ids = [make_shop(f"shop-{number}").operation.public_id for number in range(30)]
    with CaptureQueriesContext(connection) as queries:
        for public_id in ids:
            found = progress.progress_of([public_id])[public_id]
            assert found.place is not None
    assert len(queries) == len(ids) + 2
    assert found.place is not None
    assert found.place.ahead == 30  # 29, rounded


@pytest.mark.django_db
def test_only_who_waits_in_the_line_has_a_place() -> None:
    made = make_shop()
    claim(made)
    assert progress.progress_of([made.operation.public_id])[made.operation.public_id].place is None


@pytest.mark.django_db
def test_the_rate_is_that_of_starts_that_ended_just_now() -> None:
    made = [make_shop(f"shop-{number}") for number in range(6)]
    now = timezone.now()
    for number, shop in enumerate(made):
        Operation.objects.filter(pk=shop.operation.pk).update(
            state=OperationState.SUCCEEDED, finished_at=now - timedelta(seconds=number)
        )
    rate = line_places.read().rate
    assert rate is not None
    assert 0.8 < rate < 1.3
