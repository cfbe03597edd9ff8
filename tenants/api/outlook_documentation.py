"""What the OpenAPI description says of the forecast and of decisions."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers as s

from tenants.api.documentation import described, problems

_SHARE = "booked share of what was offered, 0 to 1"
_ROOM = described(
    "Room",
    {
        "capacity": s.IntegerField(),
        "reserve": s.IntegerField(),
        "booked": s.IntegerField(),
        "measured": s.IntegerField(allow_null=True),
    },
)
_FORECAST = described(
    "Forecast",
    {
        "hosts": s.IntegerField(),
        "open_hosts": s.IntegerField(help_text="that take new shops and report"),
        "instances": s.IntegerField(),
        "hosts_needed": s.IntegerField(
            allow_null=True, help_text="of the pool's usual size; null until first worked out"
        ),
        "hosts_in_30_days": s.IntegerField(
            allow_null=True, help_text="with the trend carried on; null while there is none"
        ),
        "scarcest": s.CharField(help_text="processor, memory, disk or network; decides the number"),
        "at": s.DateTimeField(allow_null=True, help_text="when this was worked out"),
        "cpu_millis": _ROOM,
        "memory_bytes": _ROOM,
        "disk_bytes": _ROOM,
        "days": described(
            "PoolDay",
            {
                "day": s.DateField(),
                "instances": s.IntegerField(),
                "hosts": s.IntegerField(),
                "hosts_needed": s.IntegerField(),
                "cpu_share": s.FloatField(help_text=_SHARE),
                "memory_share": s.FloatField(help_text=_SHARE),
                "disk_share": s.FloatField(help_text=_SHARE),
            },
            many=True,
        ),
    },
)
_DECISION = described(
    "Decision",
    {
        "id": s.IntegerField(),
        "instance": s.CharField(),
        "outcome": s.ChoiceField(
            choices=[
                ("placed", "it got a place"),
                ("no_room", "no host had room"),
                ("unseen", "no host could be seen, which says nothing about room"),
            ]
        ),
        "host": s.CharField(help_text="empty unless placed"),
        "reasons": s.ListField(child=s.CharField(), help_text="why there, and why not elsewhere"),
        "at": s.DateTimeField(),
    },
)

POOL_FORECAST: dict[str, Any] = {
    "operation_id": "pool_forecast",
    "responses": {200: _FORECAST} | problems(_401="No working token.", _403="Operators only."),
}
LIST_DECISIONS: dict[str, Any] = {
    "operation_id": "tenants_decisions_list",
    "parameters": [
        OpenApiParameter("cursor", str, description="from `next` or `previous`"),
        OpenApiParameter("page_size", int, description="1 to 200; 50 when left out"),
    ],
    "responses": {
        200: described(
            "DecisionPage",
            {
                "next": s.URLField(allow_null=True),
                "previous": s.URLField(allow_null=True),
                "results": s.ListField(child=_DECISION),
            },
        )
    }
    | problems(
        _401="No working token.",
        _403="Operators only.",
        _404="No such shop.",
        _422="A made-up cursor or parameter.",
    ),
}
