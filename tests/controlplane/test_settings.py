"""Settings stop a program at its start, and say which variable is wrong and what would be right."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from controlplane.settings import env

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("STOA_HTTP_PORT", "eighty", "STOA_HTTP_PORT must be a whole number from 1 to 65535, not"),
        ("STOA_HTTP_PORT", "65536", "STOA_HTTP_PORT must be a whole number from 1 to 65535, not"),
        ("STOA_DOMAIN", "http://shops.example", "STOA_DOMAIN must be a host name without scheme"),
        ("STOA_CONSOLE_HOST", "a..b", "STOA_CONSOLE_HOST must be a host name without scheme"),
        ("STOA_PUBLIC_SCHEME", "ftp", "STOA_PUBLIC_SCHEME must be one of http, https, not 'ftp'"),
        ("DATABASE_URL", "mysql://x/y", "DATABASE_URL must start with postgres://"),
        ("STOA_BROKER_URL", "", "STOA_BROKER_URL is empty; it must be set"),
        ("STOA_SECRETS_DIR", "secrets", "STOA_SECRETS_DIR must be an absolute path, not 'secrets'"),
        ("STOA_SECRETS_DIR", "/nowhere", "cannot read /nowhere/django-secret-key"),
        ("STOA_LOG_LEVEL", "LOUD", "STOA_LOG_LEVEL must be one of"),
        ("STOA_LEASE_SECONDS", "1", "STOA_LEASE_SECONDS must be a whole number from 2 to 600"),
    ],
)
def test_a_wrong_variable_stops_the_program_and_is_named(name: str, value: str, said: str) -> None:
    done = _django_with({name: value})
    assert done.returncode != 0
    assert said in done.stderr


def test_https_gives_cookies_that_no_shop_can_set_or_shadow() -> None:
    shown = (
        "from django.conf import settings as s; "
        "print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_SECURE, "
        "s.CSRF_TRUSTED_ORIGINS, s.STOA_SHOP_URL)"
    )
    done = _django_with(
        {
            "STOA_PUBLIC_SCHEME": "https",
            "STOA_PUBLIC_PORT": "443",
            "STOA_CONSOLE_HOST": "stoa.example",
            "STOA_DOMAIN": "shops.example",
        },
        code=shown,
    )
    assert done.stdout.split("\n")[0] == (
        "__Host-stoa-session __Host-stoa-csrf True ['https://stoa.example'] "
        "https://{slug}.shops.example"
    )


def test_addresses_carry_the_port_people_use() -> None:
    assert settings.STOA_CONSOLE_URL == "http://localhost:8080"
    assert settings.STOA_SHOP_URL.format(slug="acme") == "http://acme.localhost:8080"


def test_no_variable_may_be_a_half_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOA_SWITCH", "maybe")
    with pytest.raises(ImproperlyConfigured, match="STOA_SWITCH must be 1 or 0, not 'maybe'"):
        env.switch("STOA_SWITCH", default=True)


def test_a_worker_waits_for_its_broker_longer_than_a_publisher_may() -> None:
    code = (
        "from django.conf import settings as s; "
        "print(s.CELERY_BROKER_TRANSPORT_OPTIONS['socket_timeout'])"
    )
    publisher = _django_with({"STOA_PROGRAM": "web"}, code=code)
    worker = _django_with({"STOA_PROGRAM": "control"}, code=code)
    assert (publisher.stdout.strip(), worker.stdout.strip()) == ("1.0", "15.0")


def _django_with(
    variables: dict[str, str], code: str = "from django.conf import settings; settings.DEBUG"
) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | {"DJANGO_SETTINGS_MODULE": "controlplane.settings.base"} | variables
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        cwd=REPO,
        check=False,
        capture_output=True,
        text=True,
    )
