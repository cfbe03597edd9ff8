"""The OpenAPI description is valid, and the page that shows it works under the content policy."""

from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client


def test_the_description_is_valid_and_without_warnings(tmp_path: Path) -> None:
    file = tmp_path / "schema.yaml"
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(file))
    text = file.read_text()
    for path in ("/api/v1/tenants:", "/api/v1/operations/{public_id}/retry:", "/api/v1/hosts:"):
        assert path in text
    assert "application/problem+json" in text
    assert "Idempotency-Key" in text


@pytest.mark.django_db
def test_the_page_loads_scripts_and_styles_from_us_alone(client: Client) -> None:
    answer = client.get("/api/docs/")
    assert answer.status_code == 200
    page = answer.content.decode()
    assert "https://" not in page
    assert page.count("<script src=") == page.count("<script") > 0, "an inline script"
    policy = answer["Content-Security-Policy"]
    scripts = next(part for part in policy.split(";") if part.strip().startswith("script-src"))
    assert "unsafe" not in scripts
    assert "'unsafe-inline'" in policy
    elsewhere = client.get("/livez")["Content-Security-Policy"]
    assert "unsafe" not in elsewhere


@pytest.mark.django_db
def test_the_description_is_served(client: Client) -> None:
    answer = client.get("/api/schema/", headers={"Accept": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["info"]["title"] == "Stoa"
