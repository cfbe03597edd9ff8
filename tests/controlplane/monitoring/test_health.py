"""What /livez, /readyz and `manage.py check_signup` say, and when."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.models.functions import Now
from django.middleware.common import CommonMiddleware
from django.test import Client

from controlplane.monitoring import health, pulse
from tenants.accounts import tokens
from tenants.catalogue.models import Plan
from tenants.core import freezes
from tenants.core.models import Alarm, PeriodicRun, ProgramBeat
from tenants.operations.models import Operation
from tenants.placement.bookings import cold_booking
from tenants.pool.models import HostReport
from tests import factories
from tests.factories import make_catalogue, make_host


def test_livez_answers_without_a_database(client: Client) -> None:
    assert client.get("/livez").status_code == 200


@pytest.fixture
def working(db: None, redis_url: str) -> None:
    """Rounds have just ended, and every program has just beaten."""
    for name in ("sweep", "observe"):
        PeriodicRun.objects.create(name=name, started_at=Now(), finished_at=Now())
    for program in ("control", "sweep"):
        ProgramBeat.objects.create(name=f"{program}@here/1", program=program, hears_broker=True)


def unwell(client: Client) -> set[str]:
    """The parts that readyz says are unwell; its status says the same."""
    answer = client.get("/readyz")
    found = {name for name, state in answer.json()["parts"].items() if state != "ok"}
    assert answer.status_code == (503 if found else 200)
    assert answer.json()["ready"] is not bool(found)
    return found


def test_readyz_is_200_while_all_work(client: Client, working: None) -> None:
    assert unwell(client) == set()


@pytest.mark.django_db
def test_readyz_names_what_has_not_begun(client: Client, redis_url: str) -> None:
    assert unwell(client) == {"control", "sweep", "beat"}


@pytest.mark.parametrize("program", ["control", "sweep"])
def test_a_program_that_falls_silent_is_unwell_whoever_else_works(
    client: Client, working: None, program: str
) -> None:
    ProgramBeat.objects.filter(program=program).update(at=Now() - timedelta(seconds=7))
    assert unwell(client) == {program}
    ProgramBeat.objects.create(name=f"{program}@there/2", program=program, hears_broker=True)
    assert unwell(client) == set()


def test_a_program_that_does_not_hear_the_broker_is_unwell(client: Client, working: None) -> None:
    ProgramBeat.objects.filter(program="control").update(hears_broker=False)
    assert unwell(client) == {"control"}


@pytest.mark.parametrize("name", ["sweep", "observe"])
def test_rounds_that_no_longer_end_are_told(client: Client, working: None, name: str) -> None:
    PeriodicRun.objects.filter(name=name).update(finished_at=Now() - timedelta(seconds=12))
    PeriodicRun.objects.create(name="another", started_at=Now(), finished_at=Now())
    assert unwell(client) == {"beat"}


def test_work_that_waits_while_control_takes_none_is_told(client: Client, working: None) -> None:
    factories.make_catalogue()
    factories.make_shop()
    ProgramBeat.objects.update(idle_seconds=60)
    assert unwell(client) == set()
    Operation.objects.update(run_after=Now() - timedelta(seconds=20))
    assert unwell(client) == {"control"}
    ProgramBeat.objects.update(idle_seconds=1)  # busy with others: a queue is no fault
    assert unwell(client) == set()


def test_a_broker_that_takes_no_writes_is_unwell(
    client: Client, working: None, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as broker:
        broker.config_set("maxmemory", "1")
        try:
            assert broker.ping()
            assert unwell(client) == {"redis"}
        finally:
            broker.config_set("maxmemory", "0")
    assert unwell(client) == set()


def test_a_database_that_only_reads_is_unwell(client: Client, working: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
    assert unwell(client) == {"database"}


def test_a_disk_without_room_is_unwell(
    client: Client, working: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LEAST_FREE_BYTES", 2**62)
    assert unwell(client) == {"disk"}


def test_what_readyz_writes_it_takes_back(client: Client, working: None) -> None:
    before = ProgramBeat.objects.count()
    unwell(client)
    assert ProgramBeat.objects.count() == before


def test_an_outage_that_lasts_is_an_alarm_until_it_is_over(working: None) -> None:
    def opened() -> list[str]:
        return list(Alarm.objects.filter(cleared_at=None).values_list("key", flat=True))

    outages = pulse.Outages()
    ProgramBeat.objects.filter(program="control").update(hears_broker=False)
    outages.look(100.0)
    assert opened() == []
    outages.look(107.0)
    assert opened() == ["outage.control"]
    ProgramBeat.objects.update(hears_broker=True)
    outages.look(109.0)
    assert opened() == []


def test_an_outage_of_the_database_is_told_once_it_is_over(working: None) -> None:
    outages = pulse.Outages()
    outages.database_failed(100.0, "connection refused")
    outages.database_failed(120.0, "starting up")
    outages.look(130.0)
    alarm = Alarm.objects.get()
    assert alarm.message.startswith("the database was away for 30 s")
    assert alarm.cleared_at is not None


@pytest.mark.django_db
def test_check_signup_fails_and_says_what_is_missing(redis_url: str) -> None:
    with pytest.raises(
        CommandError, match=r"host: no host is registered.*edge: no edge is in step"
    ):
        call_command("check_signup")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"capacity_memory_bytes": 1}, "no host has room for a shop on starter; memory"),
        ({"capacity_disk_bytes": 1}, "no host has room for a shop on starter; disk"),
        ({"state": "cordoned"}, "no host has room for a shop on starter; host one is cordoned"),
        ({"health": "unreachable"}, "no host that may have room is heard and alive"),
    ],
)
def test_room_is_asked_for_as_a_sign_up_would(changes: dict[str, object], told: str) -> None:
    make_catalogue()
    host = make_host(**changes)  # type: ignore[arg-type]
    HostReport.objects.create(host=host, seen_at=Now(), boot_id="b", sequence=1, digest="d")
    assert health._room().startswith(told) if told else health._room() == ""


@pytest.mark.django_db
def test_a_sign_up_that_the_door_would_turn_away_is_told() -> None:
    booking = cold_booking(make_catalogue(), Plan.objects.get())
    host = make_host(capacity_memory_bytes=2 * booking.memory_bytes)
    HostReport.objects.create(host=host, seen_at=Now(), boot_id="b", sequence=1, digest="d")
    factories.make_shop("first")
    assert health._room() == ""
    factories.make_shop("second")  # both wait for their places, and nothing is booked yet
    assert health._room().startswith("memory is used up for a shop on starter")


@pytest.mark.django_db
def test_a_full_disk_is_no_room_and_so_are_frozen_placements() -> None:
    make_catalogue()
    report = HostReport.objects.create(
        host=make_host(),
        seen_at=Now(),
        boot_id="b",
        sequence=1,
        digest="d",
        conditions=[{"kind": "disk_full", "message": "the store is 96 % full"}],
    )
    assert "the store is 96 % full" in health._room()
    report.conditions = []
    report.save()
    assert health._room() == ""
    freezes.set_switch("placements", is_on=True, reason="disk swap", changed_by="ops@example.com")
    assert health._freeze() == "new shops are stopped on purpose: disk swap"


@pytest.fixture
def locked(transactional_db: None) -> Iterator[str]:
    """A token, whose table somebody has locked; this connection waits for 0.1 s at most."""
    token = tokens.create("operator", is_operator=True).text
    other = connections.create_connection("default")
    with other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE tenants_apitoken, django_session, tenants_plan")
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = 100")
    yield token
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = 0")
    other.close()


def test_pages_say_come_again_in_both_languages_while_a_table_is_locked(
    locked: str, client: Client
) -> None:
    client.raise_request_exception = False
    client.cookies["stoa-session"] = "a" * 32
    answer = client.get("/")
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert "Please try again in a moment" in answer.content.decode()
    assert "もう一度お試しください" in answer.content.decode()


def test_the_api_says_come_again_while_a_table_is_locked(locked: str, client: Client) -> None:
    client.raise_request_exception = False
    answer = client.get("/api/v1/plans", HTTP_AUTHORIZATION=f"Bearer {locked}")
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert answer.json()["code"] == "unavailable"


@pytest.mark.parametrize("path", ["/", "/api/v1/plans"])
def test_a_fault_of_ours_is_no_outage(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    client.raise_request_exception = False

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(CommonMiddleware, "process_request", fail)
    answer = client.get(path)
    assert answer.status_code == 500
    assert "Retry-After" not in answer
