"""Settings stop a program at its start, and say which variable is wrong and what would be right."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "STOA_HTTP_PORT",
            "eighty",
            "STOA_HTTP_PORT is 'eighty'; it must be a whole number from 1",
        ),
        ("STOA_HTTP_PORT", "65536", "STOA_HTTP_PORT is '65536'; it must be a whole number from 1"),
        ("STOA_DOMAIN", "http://shops.example", "it must be a host name without scheme and port"),
        ("STOA_CONSOLE_HOST", "a..b", "STOA_CONSOLE_HOST is 'a..b'; it must be a host name"),
        ("STOA_PUBLIC_SCHEME", "ftp", "STOA_PUBLIC_SCHEME is 'ftp'; it must be http or https"),
        ("DATABASE_URL", "mysql://x/y", "DATABASE_URL is not as it must be; it must start with"),
        ("STOA_BROKER_URL", "", "STOA_BROKER_URL is not set; it must be redis://"),
        ("STOA_SECRETS_DIR", "secrets", "STOA_SECRETS_DIR is 'secrets'; it must be an absolute"),
        ("STOA_SECRETS_DIR", "/nowhere", "cannot read /nowhere/django-secret-key"),
        ("STOA_LOG_LEVEL", "LOUD", "STOA_LOG_LEVEL is 'LOUD'; it must be DEBUG, INFO, WARNING or"),
        ("STOA_LEASE_SECONDS", "1", "STOA_LEASE_SECONDS is '1'; it must be a whole number from 2"),
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
