"""The cast and the props of the page tests: Alice and Bob have shops, Olga runs the pool."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from tenants.accounts.models import Member
from tenants.catalogue import releases
from tenants.catalogue.releases import ReleaseConfig
from tenants.core import transitions
from tenants.operations.models import Operation, Step
from tenants.pool.models import Host, HostReport
from tenants.shops import signups
from tenants.shops.models import Tenant
from tenants.shops.signups import SignUpForm
from tenants.states import OperationState, StepState, TenantState

PASSWORD = "a long enough password"
GIB = 1024**3


@pytest.fixture(scope="session", autouse=True)
def compiled_words() -> None:
    """Compile the Japanese words where bin/test has not (a pytest run by hand)."""
    for words in settings.LOCALE_PATHS:
        for source in Path(words).glob("*/LC_MESSAGES/*.po"):
            target = source.with_suffix(".mo")
            if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
                subprocess.run(
                    ["msgfmt", "--check-format", "-o", str(target), str(source)], check=True
                )


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work stays where it is: these tests look at pages, the sweep would find the operations."""
    monkeypatch.setattr("tenants.core.dispatch._quiet_until", float("inf"))


@dataclass(frozen=True)
class Cast:
    """Who plays."""

    alice: Member
    bob: Member
    olga: Member


@pytest.fixture
def cast(db: None) -> Cast:
    """A merchant, another merchant, and an operator."""
    releases.ensure_plans()
    config = ReleaseConfig(
        image_name="shop",
        image_digest="sha256:" + "a" * 64,
        prior_cpu_millis=20,
        prior_memory_bytes=10 * 1024**2,
    )
    releases.ensure_release("shop", "Shop", config)
    make_host("local")
    make = Member.objects.create_user
    return Cast(
        alice=make("alice@example.com", PASSWORD),
        bob=make("bob@example.com", PASSWORD),
        olga=make("olga@example.com", PASSWORD, is_operator=True),
    )


@pytest.fixture
def page(cast: Cast) -> Callable[[Member | None], Client]:
    """A browser of somebody's, or of nobody's."""

    def open_browser(member: Member | None) -> Client:
        client = Client()
        if member is not None:
            client.force_login(member, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return open_browser


def make_host(name: str, *, capacity_gib: int = 16) -> Host:
    """A host that reports."""
    host = Host.objects.create(
        name=name,
        address=f"100.96.0.{Host.objects.count() + 1}",
        capacity_cpu_millis=8000,
        capacity_memory_bytes=capacity_gib * GIB,
        capacity_disk_bytes=100 * GIB,
        broker_secret_sha256="0" * 64,
        token_sha256="0" * 64,
    )
    HostReport.objects.create(
        host=host, seen_at=timezone.now(), boot_id="b", sequence=1, digest="d"
    )
    return host


def make_shop(member: Member, slug: str, *, state: str = TenantState.REQUESTED) -> Operation:
    """A shop of the member's in this state; gives the operation that set it up."""
    made = signups.sign_up(SignUpForm(slug=slug, shop_name=slug.title()), member=member)
    operation = made.operation
    if state == TenantState.LIVE:
        end(operation, OperationState.SUCCEEDED)
    if state == TenantState.FAILED:
        end(operation, OperationState.FAILED, code="unhealthy")
    if state != TenantState.REQUESTED:
        transitions.move(made.tenant, state, reason="test")
    return Operation.objects.select_related("tenant").get(pk=operation.pk)


def end(operation: Operation, state: str, *, code: str = "") -> None:
    """Let the operation have ended in this state after 600 ms."""
    done = state == OperationState.SUCCEEDED
    at = operation.created_at or timezone.now()
    Operation.objects.filter(pk=operation.pk).update(
        state=state,
        error_code=code,
        error_message="as an operator reads it" if code else "",
        finished_at=at + timedelta(milliseconds=600),
        attempts=1,
    )
    Step.objects.filter(operation=operation).update(
        state=StepState.DONE if done else StepState.FAILED,
        started_at=at,
        finished_at=at + timedelta(milliseconds=150),
    )


def tenant_of(slug: str) -> Tenant:
    """The living tenant of that name."""
    return Tenant.objects.exclude(state=TenantState.REMOVED).get(slug=slug)
