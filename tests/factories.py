"""Rows for tests of the record and of the API: a catalogue, hosts, edges, shops; and racing threads."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections

from tenants.accounts import tokens
from tenants.accounts.models import Member
from tenants.catalogue.models import App, Plan, Release
from tenants.operations import leases
from tenants.operations.leases import Lease
from tenants.pool.models import Edge, Host
from tenants.shops import signups
from tenants.shops.signups import SignUp, SignUpForm

MIB = 1024 * 1024
DIGEST = "sha256:" + "1" * 64
PASSWORD = "correct-horse-battery"
_numbers = itertools.count(1)

T = TypeVar("T")


def make_catalogue() -> Release:
    """The plan `starter` and a first release of `shop`."""
    Plan.objects.get_or_create(
        slug="starter",
        defaults={
            "name_en": "Starter",
            "name_ja": "スターター",
            "price_minor": 500,
            "cpu_millis": 1000,
            "memory_bytes": 64 * MIB,
            "pids": 64,
            "disk_bytes": 256 * MIB,
        },
    )
    app, _ = App.objects.get_or_create(slug="shop", defaults={"name": "Shop"})
    release, _ = Release.objects.get_or_create(
        app=app,
        number=1,
        defaults={
            "image_digest": DIGEST,
            "image_name": "shop",
            "prior_cpu_millis": 10,
            "prior_memory_bytes": 9 * MIB,
        },
    )
    return release


def make_host(name: str = "one", *, cpu_millis: int = 4000, **fields: object) -> Host:
    """An open host with room for many."""
    wanted: dict[str, object] = {
        "address": "100.96.0.1",
        "capacity_cpu_millis": cpu_millis,
        "capacity_memory_bytes": 8192 * MIB,
        "capacity_disk_bytes": 65536 * MIB,
        "broker_secret_sha256": "0" * 64,
        "token_sha256": "0" * 64,
    }
    return Host.objects.create(name=name, **(wanted | fields))


def make_edge(name: str = "one", *, token: str = "edge-token") -> Edge:
    """A registered edge that has not been heard yet."""
    return Edge.objects.create(
        name=name,
        broker_secret_sha256="0" * 64,
        token_sha256=tokens.sha256(token),
        check_url="http://127.0.0.1:8080",
    )


def make_member(email: str = "", *, is_operator: bool = False) -> Member:
    """A login with PASSWORD."""
    email = email or f"member-{next(_numbers)}@example.com"
    return Member.objects.create_user(email, PASSWORD, is_operator=is_operator)


def make_shop(slug: str = "acme", *, member: Member | None = None) -> SignUp:
    """A shop as the sign-up leaves it: requested, with an open operation."""
    make_catalogue()
    email = "" if member else f"owner-{next(_numbers)}@example.com"
    form = SignUpForm(slug=slug, shop_name=f"Shop {slug}", email=email)
    return signups.sign_up(form, member=member)


def claim(made: SignUp, owner: str = "worker") -> Lease:
    """The lease of the shop's operation, which must be free."""
    lease = leases.claim(made.operation.pk, owner=owner)
    assert lease is not None
    return lease


def race(*works: Callable[[], T]) -> list[T | Exception]:
    """Start all works at the same moment, each on a connection of its own; results in their order."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T | Exception:
        start.wait(timeout=10)
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - the test looks at what was raised
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))
