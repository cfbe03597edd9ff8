"""Fills the catalogue: the plans on offer, and a new release whenever an app's image has changed."""

from dataclasses import dataclass

from django.db import transaction

from tenants.catalogue.models import App, Plan, Release
from tenants.errors import FieldError

_MIB = 1024 * 1024

SHOP = "shop"
LONGEST_SOURCE = 400

# A limit is what the kernel cuts off at, not what is booked: hosts are filled by measured use.
# A whole core even in the smallest plan, because a shop's start is all processor time.
PLANS: tuple[dict[str, str | int], ...] = (
    {
        "slug": "starter",
        "position": 1,
        "name_en": "Starter",
        "name_ja": "スターター",
        "summary_en": "A first shop: 64 MiB of memory, 256 MiB for products and orders.",
        "summary_ja": "はじめてのお店に。メモリ 64 MiB、商品と注文に 256 MiB。",
        "price_minor": 500,
        "cpu_millis": 1000,
        "memory_bytes": 64 * _MIB,
        "pids": 64,
        "disk_bytes": 256 * _MIB,
        "egress_bytes_per_second": 2 * _MIB,
        "connections": 256,
        "new_connections_per_second": 32,
        "io_bytes_per_second": 40 * _MIB,
    },
    {
        "slug": "standard",
        "position": 2,
        "name_en": "Standard",
        "name_ja": "スタンダード",
        "summary_en": "A shop with daily orders: 128 MiB of memory, 1 GiB of space.",
        "summary_ja": "毎日注文のあるお店に。メモリ 128 MiB、容量 1 GiB。",
        "price_minor": 1500,
        "cpu_millis": 1000,
        "memory_bytes": 128 * _MIB,
        "pids": 128,
        "disk_bytes": 1024 * _MIB,
        "egress_bytes_per_second": 6 * _MIB,
        "connections": 512,
        "new_connections_per_second": 64,
        "io_bytes_per_second": 80 * _MIB,
    },
    {
        "slug": "plus",
        "position": 3,
        "name_en": "Plus",
        "name_ja": "プラス",
        "summary_en": "A busy shop: two cores, 256 MiB of memory, 4 GiB of space.",
        "summary_ja": "にぎわうお店に。2 コア、メモリ 256 MiB、容量 4 GiB。",
        "price_minor": 3900,
        "cpu_millis": 2000,
        "memory_bytes": 256 * _MIB,
        "pids": 256,
        "disk_bytes": 4096 * _MIB,
        "egress_bytes_per_second": 12 * _MIB,
        "connections": 1024,
        "new_connections_per_second": 128,
        "io_bytes_per_second": 160 * _MIB,
    },
)


@dataclass(frozen=True, slots=True)
class ReleaseConfig:
    """How a release of an app is run. prior_*: what one was seen to use before any tenant ran it."""

    image_name: str
    image_digest: str
    container_port: int = 8000
    health_path: str = "/healthz"
    has_volume: bool = True
    image_source: str = ""
    writable_root: bool = True
    prior_cpu_millis: float | None = None
    prior_memory_bytes: int | None = None


def ensure_plans() -> None:
    """Create the plans that are missing; those that exist are the operator's to change."""
    for plan in PLANS:
        Plan.objects.get_or_create(slug=plan["slug"], defaults=plan)


@transaction.atomic
def ensure_release(slug: str, name: str, config: ReleaseConfig) -> Release:
    """Return the app's newest release if it already is of this image and config, else the next number.

    Raises FieldError when the digest is none.
    """
    digest = config.image_digest
    if not digest.startswith("sha256:") or len(digest) != 71:
        raise FieldError(
            f"image_digest is {digest[:80]!r}; it must be sha256: and 64 hexadecimal digits",
            field="image_digest",
        )
    App.objects.get_or_create(slug=slug, defaults={"name": name})
    app = App.objects.select_for_update().get(slug=slug)
    wanted = {field: getattr(config, field) for field in ReleaseConfig.__dataclass_fields__}
    newest = app.releases.order_by("-number").first()
    if newest is not None and all(getattr(newest, key) == value for key, value in wanted.items()):
        return newest
    return Release.objects.create(app=app, number=newest.number + 1 if newest else 1, **wanted)
