"""Tells hosts which images are needed: to have one early, or so that they can remove the others."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db.models.functions import Now

from runtime.driver import Driver
from runtime.errors import RuntimeCoreError
from tenants.catalogue import images
from tenants.pool import restored_record
from tenants.pool.models import Host
from workers.flows import clients
from workers.leases.periodic import once
from workers.pool import mapping

HOSTS_AT_ONCE = 8

log = logging.getLogger(__name__)


@once("images")
def collect() -> str:
    """Do one round over every host that was heard just now."""
    return carry_out(clients.real().driver_for)


def carry_out(driver_for: Callable[[Host], Driver]) -> str:
    """Let hosts collect what nobody needs; tells what was removed. A few queries, however many hosts."""
    if restored_record.is_frozen():
        return "frozen after a restore"
    keep = tuple(images.to_keep())
    answers = _on_every_host(driver_for, lambda driver: len(driver.collect_images(keep)))
    gone = 0
    for name, found in answers.items():
        if isinstance(found, RuntimeCoreError):
            log.warning("host %s did not collect images: %s", name, found.message)
        else:
            gone += found
    return f"{gone} images removed" if gone else ""


def prefetch(
    digest: str, source: str, *, driver_for: Callable[[Host], Driver] | None = None
) -> dict[str, str]:
    """Have every host that was heard just now get an image; what each said, "" for well."""
    answers = _on_every_host(
        driver_for or clients.real().driver_for,
        lambda driver: driver.ensure_image(digest, source).disk_bytes,
    )
    return {
        name: found.message if isinstance(found, RuntimeCoreError) else ""
        for name, found in answers.items()
    }


def _on_every_host(
    driver_for: Callable[[Host], Driver], act: Callable[[Driver], int]
) -> dict[str, int | RuntimeCoreError]:
    """Act on every host that was heard just now, some at once; by name, what it gave or raised."""

    def one(driver: Driver) -> int | RuntimeCoreError:
        try:
            return act(driver)
        except RuntimeCoreError as error:
            return error

    seen = list(Host.objects.filter(report__seen_at__gt=Now() - mapping.FRESH))
    # Threads touch no database: a driver is a queue.
    drivers = [driver_for(host) for host in seen]
    with ThreadPoolExecutor(HOSTS_AT_ONCE) as pool:
        return dict(zip((host.name for host in seen), pool.map(one, drivers), strict=True))
