"""Looks whether data that was missing is there again, and says how many shops wait for theirs.

Nobody repairs such a shop: hosts are only asked whether they hold its volume, some shops in a round, and
one whose volume is there is started by an ordinary operation.
"""

import logging
from collections.abc import Callable
from itertools import groupby

from runtime.driver import Driver
from runtime.errors import RuntimeCoreError
from tenants.core import alarms
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.transfers import missing_data
from workers.flows import clients
from workers.leases.periodic import once
from workers.pool import mapping

ASKED_AT_ONCE = 500

log = logging.getLogger(__name__)


@once("missing_data")
def look() -> str:
    """Do one round: see the module."""
    return carry_out(clients.real().driver_for)


def carry_out(driver_for: Callable[[Host], Driver]) -> str:
    """Start what has its data again, and keep the alarms true."""
    places = missing_data.to_be_asked_for(ASKED_AT_ONCE)
    started = 0
    for host, here in groupby(places, key=lambda place: place.host):
        started += sum(missing_data.repair(place) for place in _found(driver_for, host, list(here)))
    alarms.keep("data", missing_data.alarms_now())
    return f"{started} shops have their data again" if started else ""


def _found(
    driver_for: Callable[[Host], Driver], host: Host, places: list[Placement]
) -> list[Placement]:
    named = {mapping.volume_name(place.instance.tenant): place for place in places}
    try:
        there = driver_for(host).volumes_here(tuple(named))
    except RuntimeCoreError as error:
        log.info("host %s does not say which volumes it holds: %s", host.name, error.message)
        return []
    return [named[name] for name in there if name in named]
