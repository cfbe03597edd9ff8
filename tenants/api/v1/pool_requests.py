"""What operators' programs send about hosts, checked before anything is touched."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from tenants.api.declared import LEFT_OUT, About, LeftOut, as_json
from tenants.pool.models import Host
from tenants.pool.registration import MachineResources

_DAY = 24 * 3600
KINDS = ("cpu_millis", "memory_bytes", "disk_bytes")

Labels = Mapping[str, Annotated[str, About(max_length=63, allow_blank=True)]]


@dataclass(frozen=True, slots=True)
class ReserveRequest:
    """What is kept back for the host itself; what is left out stays."""

    cpu_millis: Annotated[int | LeftOut, About(min_value=0, max_value=10**8)] = LEFT_OUT
    memory_bytes: Annotated[int | LeftOut, About(min_value=0, max_value=2**53)] = LEFT_OUT
    disk_bytes: Annotated[int | LeftOut, About(min_value=0, max_value=2**60)] = LEFT_OUT


@dataclass(frozen=True, slots=True)
class HostEdit:
    """Changes to a host. Rules are the service's; here are the types."""

    zone: Annotated[str | LeftOut, About(max_length=32)] = LEFT_OUT
    engine: Annotated[str | LeftOut, About(max_length=16)] = LEFT_OUT
    labels: Annotated[Labels | LeftOut, About("all of them: what is not in here goes")] = LEFT_OUT
    reserve: ReserveRequest | LeftOut = LEFT_OUT

    def changes(self, host: Host) -> dict[str, Any]:
        """Return the checked request as the service takes it."""
        sent = as_json(self)
        if "reserve" in sent:
            given = as_json(sent["reserve"])
            sent["reserve"] = MachineResources(
                **{kind: given.get(kind, getattr(host, f"reserve_{kind}")) for kind in KINDS}
            )
        return sent


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """A confirmation."""

    confirm: Annotated[str, About("the host's name, typed", max_length=32)]


@dataclass(frozen=True, slots=True)
class JoinTokenRequest:
    """A join token to be made."""

    zone: Annotated[str, About(max_length=32)] = "default"
    labels: Labels = field(default_factory=dict)
    ttl_seconds: Annotated[int, About(min_value=60, max_value=7 * _DAY)] = _DAY
