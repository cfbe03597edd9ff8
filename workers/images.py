"""Tells every host which images are still needed, so that it can remove the others."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db.models.functions import Now

from runtime.driver import Driver
from runtime.errors import RuntimeCoreError
from tenants.models import Host
from tenants.queries import images
from workers import fleet
from workers.flows import hands
from workers.periodic import once

HOSTS_AT_ONCE = 8

log = logging.getLogger(__name__)


@once("images")
def collect() -> str:
    """One round over every host that was heard just now."""
    return carry_out(hands.real().driver_for)


def carry_out(driver_for: Callable[[Host], Driver]) -> str:
    """Let hosts collect what nobody needs; tells what was removed. Two queries, however many hosts."""
    keep = tuple(images.to_keep())
    seen = list(Host.objects.filter(report__seen_at__gt=Now() - fleet.FRESH))
    # Threads touch no database: a driver is a queue.
    names, drivers = [host.name for host in seen], [driver_for(host) for host in seen]
    with ThreadPoolExecutor(HOSTS_AT_ONCE) as pool:
        gone = sum(pool.map(_collected, names, drivers, [keep] * len(seen)))
    return f"{gone} images removed" if gone else ""


def _collected(name: str, driver: Driver, keep: tuple[str, ...]) -> int:
    try:
        return len(driver.collect_images(keep))
    except RuntimeCoreError as error:
        log.warning("host %s did not collect images: %s", name, error.message)
        return 0
