"""What one shop uses, out of the packed rows its host ships every five minutes."""

import json
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from tenants.shops.models import Tenant

# Two rows: processor time and traffic are differences. The database picks one shop out of each row, so
# that a host's thousand samples are not carried to the web process for one page.
_LAST_TWO = """
SELECT usage.at,
       jsonb_path_query_first(usage.samples, '$[*] ? (@.instance_id == $id)',
                              jsonb_build_object('id', instance.public_id))
  FROM tenants_instance instance
  JOIN tenants_placement placement ON placement.instance_id = instance.id AND placement.until IS NULL
  JOIN LATERAL (
       SELECT at, samples FROM tenants_hostusage
        WHERE host_id = placement.host_id ORDER BY at DESC LIMIT 2
       ) usage ON TRUE
 WHERE instance.tenant_id = %s
 ORDER BY instance.ordinal, usage.at DESC LIMIT 2
"""


@dataclass(frozen=True, slots=True)
class ShopUsage:
    """What a shop used at a moment. cpu_millis and the traffic are of the five minutes before; None
    where there is no earlier reading of the same container."""

    at: datetime
    memory_bytes: int
    disk_bytes: int
    cpu_millis: int | None
    rx_bytes: int | None
    tx_bytes: int | None


def of(tenant: Tenant) -> ShopUsage | None:
    """Return the tenant's last shipped figures, None when there are none yet; one query."""
    with connection.cursor() as cursor:
        cursor.execute(_LAST_TWO, [tenant.pk])
        rows = cursor.fetchall()
    readings = [(at, _parsed(sample)) for at, sample in rows]
    if not readings or not readings[0][1]:
        return None
    (at, now), *earlier = readings
    before = earlier[0][1] if earlier else {}
    seconds = (at - earlier[0][0]).total_seconds() if earlier else 0.0
    # A container that began anew counts from 0 again: then there is nothing to compare with.
    same = bool(before) and seconds > 0 and before["cpu_nanos"] <= now["cpu_nanos"]
    return ShopUsage(
        at=at,
        memory_bytes=now["memory_bytes"],
        disk_bytes=now["disk_bytes"],
        cpu_millis=round((now["cpu_nanos"] - before["cpu_nanos"]) / seconds / 1e6)
        if same
        else None,
        rx_bytes=max(0, now["rx_bytes"] - before["rx_bytes"]) if same else None,
        tx_bytes=max(0, now["tx_bytes"] - before["tx_bytes"]) if same else None,
    )


def _parsed(sample: object) -> dict[str, int]:
    """Return the numbers of a sample; {} for none. Hosts' samples were checked when they came."""
    found = json.loads(sample) if isinstance(sample, str) else sample
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, int)}
