"""What operators' programs send about hosts, checked before anything is touched."""

from typing import Any

from rest_framework import serializers

from tenants.models import Host, JoinToken
from tenants.services.pool import Room

_DAY = 24 * 3600
KINDS = ("cpu_millis", "memory_bytes", "disk_bytes")


class ReserveRequest(serializers.Serializer[Room]):
    """What is kept back for the host itself; what is left out stays."""

    cpu_millis = serializers.IntegerField(min_value=0, max_value=10**8, required=False)
    memory_bytes = serializers.IntegerField(min_value=0, max_value=2**53, required=False)
    disk_bytes = serializers.IntegerField(min_value=0, max_value=2**60, required=False)


class HostEdit(serializers.Serializer[Host]):
    """Changes to a host. Rules are the service's; here are the types."""

    zone = serializers.CharField(max_length=32, required=False)
    engine = serializers.CharField(max_length=16, required=False)
    labels = serializers.DictField(
        child=serializers.CharField(max_length=63, allow_blank=True),
        required=False,
        help_text="all of them: what is not in here goes",
    )
    reserve = ReserveRequest(required=False)

    def changes(self, host: Host) -> dict[str, Any]:
        """The checked request as the service takes it."""
        sent = dict(self.validated_data)
        if (given := sent.pop("reserve", None)) is not None:
            sent["reserve"] = Room(
                **{kind: given.get(kind, getattr(host, f"reserve_{kind}")) for kind in KINDS}
            )
        return sent


class ForgetRequest(serializers.Serializer[Host]):
    """A confirmation."""

    confirm = serializers.CharField(max_length=32, help_text="the host's name, typed")


class JoinTokenRequest(serializers.Serializer[JoinToken]):
    """A join token to be made."""

    zone = serializers.CharField(max_length=32, required=False, default="default")
    labels = serializers.DictField(
        child=serializers.CharField(max_length=63, allow_blank=True), required=False, default=dict
    )
    ttl_seconds = serializers.IntegerField(
        min_value=60, max_value=7 * _DAY, required=False, default=_DAY
    )
