"""Alarms by API: what is open, where it is told, and a test of that."""

from typing import Any

import pytest

from tenants.core import alarms
from tenants.core.alarm_kinds import DISK_FULL
from tenants.core.models import Alarm, Notice
from tests.tenants.api.conftest import Program


def test_open_alarms_and_what_became_of_their_notices_are_listed(operator: Program) -> None:
    one, two = DISK_FULL.key("one", 0), DISK_FULL.key("two", 0)
    alarms.keep("host", {one: "one is full", two: "two is full"})
    alarms.keep("host", {one: "one is full"})
    found = operator.get("alarms").json()
    [row] = found["results"]
    assert (row["key"], row["message"], row["severity"]) == (one, "one is full", "critical")
    assert (row["kind"], row["title"]) == (DISK_FULL.pattern, "A host's disk is full")
    assert row["remedy"] == str(DISK_FULL.remedy)
    assert found["channels"] == ["mail"]
    told = [(row["kind"], row["key"], row["sent_at"]) for row in found["notices"]]
    assert told[0] == ("closed", two, None)
    assert {row[1] for row in told[1:]} == {one, two}


def test_a_test_is_written_for_every_channel(operator: Program, settings: Any) -> None:
    settings.STOA_ALARM_WEBHOOK = "https://hooks.example.org/x"
    answer = operator.post("alarms/test")
    assert answer.status_code == 202
    rows = Notice.objects.filter(key=answer.json()["key"], kind="test")
    assert {row.channel for row in rows} == {"mail", "webhook"}


def test_an_alarm_that_another_version_declared_is_listed(operator: Program) -> None:
    Alarm.objects.create(key="moon.full", message="it is")
    [row] = operator.get("alarms").json()["results"]
    assert (row["key"], row["kind"], row["severity"]) == ("moon.full", "", None)


@pytest.mark.parametrize(("method", "path"), [("GET", "alarms"), ("POST", "alarms/test")])
def test_alarms_are_for_operators(alices: Program, method: str, path: str) -> None:
    assert alices.call(method, path).status_code == 403
    assert not Notice.objects.exists()
