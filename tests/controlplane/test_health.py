"""What /livez, /readyz and `manage.py check_signup` say, and when."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from controlplane import health
from tenants.models import PeriodicRun


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
