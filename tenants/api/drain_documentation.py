"""What the OpenAPI description says of emptying hosts and moving shops, and what moving takes."""

from typing import Any

from rest_framework import serializers as s

from tenants.api.documentation import described, problems
from tenants.states import DrainState


class MoveRequest(s.Serializer[dict[str, str]]):
    """Where to."""

    to = s.CharField(
        max_length=32,
        required=False,
        default="",
        allow_blank=True,
        help_text="the host's name; left out: wherever the scheduler finds best",
    )


_UNDER_WAY = described(
    "MoveUnderWay",
    {"tenant": s.CharField(), "operation": s.CharField(), "step": s.CharField()},
)
_TROUBLE = described(
    "MoveTrouble",
    {
        "tenant": s.CharField(),
        "operation": s.CharField(),
        "code": s.CharField(help_text="the error code of its last operation"),
        "message": s.CharField(),
        "is_retried": s.BooleanField(
            help_text="true: its move is tried again every minute; false: its set-up failed and it may"
            " hold data, so try it again or remove it"
        ),
        "at": s.DateTimeField(allow_null=True),
    },
)
_DRAIN = described(
    "Drain",
    {
        "host": s.CharField(),
        "state": s.ChoiceField(choices=DrainState.choices),
        "total": s.IntegerField(help_text="shops that have left or are to leave"),
        "moved": s.IntegerField(),
        "left": s.IntegerField(),
        "still_there": s.IntegerField(
            help_text="what the host itself reports to hold; -1 when it does not report"
        ),
        "longest_held_ms": s.IntegerField(
            allow_null=True, help_text="the longest that visitors of one shop were kept waiting"
        ),
        "started_at": s.DateTimeField(),
        "ended_at": s.DateTimeField(allow_null=True),
        "seconds": s.FloatField(),
        "eta_seconds": s.FloatField(allow_null=True, help_text="at the pace so far"),
        "under_way": s.ListField(child=_UNDER_WAY),
        "troubles": s.ListField(child=_TROUBLE, help_text="shops that could not leave"),
    },
)
_WHO = problems(_401="No working token.", _403="Operators only.")
_ONE = _WHO | problems(_404="No host of that name, or it was never emptied.")
_NOT_NOW = problems(_409="Its state does not allow it now.")

GET_DRAIN: dict[str, Any] = {"operation_id": "hosts_drain_get", "responses": {200: _DRAIN} | _ONE}
START_DRAIN: dict[str, Any] = {
    "operation_id": "hosts_drain",
    "request": None,
    "responses": {202: _DRAIN}
    | _ONE
    | _NOT_NOW
    | problems(_503="The other hosts have no room for all its shops; the message has the numbers."),
}
CANCEL_DRAIN: dict[str, Any] = {
    "operation_id": "hosts_undrain",
    "responses": {200: _DRAIN} | _ONE | _NOT_NOW,
}
MOVE: dict[str, Any] = {
    "operation_id": "tenants_move",
    "request": MoveRequest,
    "responses": {
        202: described("Moving", {"operation": s.DictField(), "links": s.DictField()}),
    }
    | _WHO
    | problems(_404="No such shop or host.", _503="As many are under way as may be at once.")
    | _NOT_NOW,
}
