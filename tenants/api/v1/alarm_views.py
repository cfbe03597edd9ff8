"""/api/v1/alarms: what an operator must look at, and whether mail and webhook have delivered it."""

from rest_framework.request import Request

from tenants.api.endpoint import WHO, endpoint
from tenants.api.v1 import pool_bodies as bodies
from tenants.api.v1.pool_views import OperatorsView
from tenants.core import notices
from tenants.core.models import Notice
from tenants.pool import overview

_NEWEST = 20


class AlarmsView(OperatorsView):
    """All that is open."""

    @endpoint("alarms_list", errors=WHO)
    def get(self, request: Request) -> bodies.AlarmsBody:
        """Open alarms, newest first, where alarms are sent, and the newest notices."""
        newest = Notice.objects.order_by("-pk")[:_NEWEST]
        return bodies.AlarmsBody(
            results=tuple(bodies.alarm(alarm) for alarm in overview.open_alarms()),
            channels=tuple(str(channel) for channel in notices.channels()),
            notices=tuple(bodies.notice(notice) for notice in newest),
        )


class AlarmTestView(OperatorsView):
    """A test of the channels."""

    @endpoint("alarms_test", status=202, errors=WHO)
    def post(self, request: Request) -> bodies.AlarmTestBody:
        """Send a test by every channel; the list of alarms says when each has taken it."""
        return bodies.AlarmTestBody(notices.add_test(self.by))
