"""What the API answers with about the forecast and about decisions."""

from tenants.api.bodies import Body, moment
from tenants.models import Decision
from tenants.queries.outlook import Forecast, Room
from tenants.queries.pool import Amount


def forecast(room: Room, found: Forecast) -> Body:
    """How full the pool is and how many hosts it needs."""
    return {
        "hosts": room.hosts,
        "open_hosts": room.open_hosts,
        "instances": room.instances,
        "hosts_needed": found.hosts_needed,
        "hosts_in_30_days": found.hosts_in_30_days,
        "scarcest": found.scarcest,
        "at": moment(found.at),
        "cpu_millis": _amount(room.cpu_millis),
        "memory_bytes": _amount(room.memory_bytes),
        "disk_bytes": _amount(room.disk_bytes),
        "days": [
            {
                "day": day.day.isoformat(),
                "instances": day.instances,
                "hosts": day.hosts,
                "hosts_needed": day.hosts_needed,
                "cpu_share": day.cpu_share,
                "memory_share": day.memory_share,
                "disk_share": day.disk_share,
            }
            for day in found.days
        ],
    }


def decision(row: Decision) -> Body:
    """One answer of the scheduler. Needs the row's instance loaded."""
    return {
        "id": row.pk,
        "instance": row.instance.public_id,
        "outcome": row.outcome,
        "host": row.host_name,
        "reasons": row.reasons,
        "at": moment(row.at),
    }


def _amount(amount: Amount) -> Body:
    return {
        "capacity": amount.capacity,
        "reserve": amount.reserve,
        "booked": amount.booked,
        "measured": amount.measured,
    }
