"""/api/v1/alarms: what an operator must look at, and whether it was told away from the pages."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.documentation import described, problems
from tenants.api.pool_views import OperatorsView
from tenants.models import Alarm, Notice
from tenants.queries import pool
from tenants.services import notices

_NEWEST = 20

_ALARM = described(
    "Alarm", {"key": s.CharField(), "message": s.CharField(), "since": s.DateTimeField()}
)
_NOTICE = described(
    "AlarmNotice",
    {
        "channel": s.ChoiceField(choices=Notice.Channel.choices),
        "kind": s.ChoiceField(choices=Notice.Kind.choices),
        "key": s.CharField(),
        "message": s.CharField(),
        "at": s.DateTimeField(),
        "sent_at": s.DateTimeField(allow_null=True, help_text="null: not delivered yet"),
        "attempts": s.IntegerField(help_text="tries that failed"),
        "error": s.CharField(help_text="why the last try failed"),
    },
)
_ALARMS = described(
    "Alarms",
    {
        "results": s.ListField(child=_ALARM, help_text="open ones, newest first"),
        "channels": s.ListField(child=s.CharField(), help_text="where alarms are sent"),
        "notices": s.ListField(child=_NOTICE, help_text="the newest, whether delivered or not"),
    },
)
_WHO = problems(_401="No working token.", _403="Operators only.")
_TEST: dict[str, Any] = {
    "operation_id": "alarms_test",
    "request": None,
    "responses": {202: described("AlarmTest", {"key": s.CharField()})} | _WHO,
}


class AlarmsView(OperatorsView):
    """All that is open."""

    @extend_schema(operation_id="alarms_list", responses={200: _ALARMS} | _WHO)
    def get(self, request: Request) -> Response:
        """Open alarms, newest first, where alarms are sent, and the newest notices."""
        newest = Notice.objects.order_by("-pk")[:_NEWEST]
        return Response(
            {
                "results": [_alarm(one) for one in pool.open_alarms()],
                "channels": [str(one) for one in notices.channels()],
                "notices": [_notice(one) for one in newest],
            }
        )


class AlarmTestView(OperatorsView):
    """A test of the channels."""

    @extend_schema(**_TEST)
    def post(self, request: Request) -> Response:
        """Have every channel told that this is a test; the list of alarms says when each has taken it."""
        return Response({"key": notices.add_test(self.by)}, status=202)


def _alarm(alarm: Alarm) -> dict[str, object]:
    return {"key": alarm.key, "message": alarm.message, "since": alarm.since}


def _notice(notice: Notice) -> dict[str, object]:
    return {
        name: getattr(notice, name)
        for name in ("channel", "kind", "key", "message", "at", "sent_at", "attempts", "error")
    }
