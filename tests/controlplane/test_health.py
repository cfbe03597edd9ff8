"""What /livez, /readyz and `manage.py check_signup` say, and when."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from controlplane import health
from tenants.models import HostReport, PeriodicRun
from tenants.services import freezes
from tests.factories import make_catalogue, make_host


def test_livez_answers_without_a_database(client: Client) -> None:
    assert client.get("/livez").status_code == 200


@pytest.mark.django_db
def test_readyz_names_the_part_that_is_unwell_but_not_why(client: Client, redis_url: str) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["parts"] == {
        "database": "ok",
        "migrations": "ok",
        "redis": "ok",
        "beat": "unwell",
    }


@pytest.mark.django_db
def test_readyz_is_200_once_periodic_tasks_run(client: Client, redis_url: str) -> None:
    PeriodicRun.objects.create(name="workers.sweep", started_at=timezone.now())
    assert client.get("/readyz").status_code == 200


@pytest.mark.django_db
def test_a_beat_silent_for_a_minute_is_unwell(redis_url: str) -> None:
    PeriodicRun.objects.create(
        name="workers.sweep", started_at=timezone.now() - timedelta(seconds=60)
    )
    beat = {part.name: part for part in health.web_parts()}["beat"]
    assert beat.problem.startswith("no periodic task has run for 60 s")


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
    assert health._room() == "an operator has stopped new shops: disk swap"
