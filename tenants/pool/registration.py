"""Takes hosts and edges into the record, with hashes of what their agents prove themselves by."""

from dataclasses import dataclass

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from tenants.core.transitions import journal
from tenants.errors import FieldError
from tenants.placement.models import Placement
from tenants.pool.models import Edge, Host
from tenants.states import HostHealth, HostState


@dataclass(frozen=True, slots=True)
class MachineResources:
    """How much of a machine: all of it, or what is kept back of it."""

    cpu_millis: int
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class AgentSecrets:
    """SHA-256, in hexadecimal, of an agent's broker password and of its HTTP token."""

    broker_sha256: str
    token_sha256: str


@transaction.atomic
def ensure_host(
    name: str,
    *,
    address: str,
    ports: range,
    secrets: AgentSecrets,
    capacity: MachineResources,
    reserve: MachineResources,
) -> Host:
    """Record the host, or bring its record up to date; bookings, state and epoch stay as they are.

    Raises FieldError when its address or ports would change under shops that are placed on it.
    """
    check_room(capacity, reserve)
    wanted: dict[str, object] = {
        "address": address,
        "first_port": ports.start,
        "last_port": ports.stop - 1,
        "broker_secret_sha256": secrets.broker_sha256,
        "token_sha256": secrets.token_sha256,
    }
    for kind, room in (("capacity", capacity), ("reserve", reserve)):
        wanted[f"{kind}_cpu_millis"] = room.cpu_millis
        wanted[f"{kind}_memory_bytes"] = room.memory_bytes
        wanted[f"{kind}_disk_bytes"] = room.disk_bytes
    host = Host.ever.select_for_update().filter(name=name).first()
    if host is None:
        return Host.objects.create(name=name, next_port=ports.start, **wanted)
    if host.state == HostState.REMOVED:
        # Whatever it still runs of its former life is fenced off.
        wanted |= {
            "state": HostState.OPEN,
            "epoch": F("epoch") + 1,
            "health": HostHealth.ALIVE,
            "health_since": Now(),
            "unreached_since": None,
        }
        journal("host", host.pk, host.state, HostState.OPEN, reason="joined again")
    if (host.address, host.first_port) != (address, ports.start):
        if Placement.objects.filter(host=host, until__isnull=True).exists():
            raise FieldError(
                f"host {name} holds shops at {host.address} from port {host.first_port} on; "
                f"move them before it becomes {address} from port {ports.start} on",
                field="address",
            )
        host.quarantined_ports.all().delete()
        wanted["next_port"] = ports.start
    Host.ever.filter(pk=host.pk).update(**wanted)
    host.refresh_from_db()
    return host


def was_removed(name: str) -> bool:
    """Return whether there was a host of that name which an operator removed."""
    return Host.ever.filter(name=name, state=HostState.REMOVED).exists()


def room_of(name: str) -> dict[str, int]:
    """Return what is recorded of a host's room (`host_cpu_millis`, `reserve_disk_bytes`, …); {} for no
    host.
    """
    host = Host.objects.filter(name=name).first()
    if host is None:
        return {}
    kinds = ("cpu_millis", "memory_bytes", "disk_bytes")
    return {f"host_{kind}": getattr(host, f"capacity_{kind}") for kind in kinds} | {
        f"reserve_{kind}": getattr(host, f"reserve_{kind}") for kind in kinds
    }


def ensure_edge(name: str, *, check_url: str, secrets: AgentSecrets) -> Edge:
    """Record the edge, or bring its record up to date.

    check_url: where control asks this edge for a shop, for example http://127.0.0.1:8080.
    """
    edge, _ = Edge.objects.update_or_create(
        name=name,
        defaults={
            "check_url": check_url,
            "broker_secret_sha256": secrets.broker_sha256,
            "token_sha256": secrets.token_sha256,
        },
    )
    return edge


def check_room(capacity: MachineResources, reserve: MachineResources) -> None:
    """FieldError when that much cannot be kept back of that much."""
    for kind in ("cpu_millis", "memory_bytes", "disk_bytes"):
        offered, kept = getattr(capacity, kind), getattr(reserve, kind)
        if not 0 <= kept < offered:
            raise FieldError(
                f"{kind}: capacity is {offered} and reserve is {kept}; "
                "reserve must be 0 or more and less than capacity",
                field=kind,
            )
