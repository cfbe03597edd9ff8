"""Alarms by API: what is open, where it is told, and a test of that."""

from typing import Any

import pytest

from tenants.core import alarms
from tenants.core.models import Notice
from tests.tenants.api.conftest import Program


def test_open_alarms_and_what_became_of_their_notices_are_listed(operator: Program) -> None:
    alarms.keep("disk", {"disk.one": "one is full", "disk.two": "two is full"})
    alarms.keep("disk", {"disk.one": "one is full"})
    found = operator.get("alarms").json()
    assert [(row["key"], row["message"]) for row in found["results"]] == [
        ("disk.one", "one is full")
    ]
    assert found["channels"] == ["mail"]
    told = [(row["kind"], row["key"], row["sent_at"]) for row in found["notices"]]
    assert told[0] == ("closed", "disk.two", None)
    assert {one[1] for one in told[1:]} == {"disk.one", "disk.two"}


def test_a_test_is_written_for_every_channel(operator: Program, settings: Any) -> None:
    settings.STOA_ALARM_WEBHOOK = "https://hooks.example.org/x"
    answer = operator.post("alarms/test")
    assert answer.status_code == 202
    rows = Notice.objects.filter(key=answer.json()["key"], kind="test")
    assert {row.channel for row in rows} == {"mail", "webhook"}


@pytest.mark.parametrize(("method", "path"), [("GET", "alarms"), ("POST", "alarms/test")])
def test_alarms_are_for_operators(alices: Program, method: str, path: str) -> None:
    assert alices.call(method, path).status_code == 403
    assert not Notice.objects.exists()
