"""A record that was restored is older than the pool: what it must know before anything acts on it.

Hosts and edges have seen later epochs, fences and sequences, and run shops the record does not know or
knows elsewhere. So every number is raised above all that may have been given out. Open operations are ended
without further action. All automatic work is frozen until an operator has looked.
"""

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Greatest, Now

from tenants.core import freezes, transitions
from tenants.core.alarm_kinds import RESTORED
from tenants.core.models import Alarm, FreezeSwitch, PeriodicRun, ProgramBeat
from tenants.operations.models import Operation, Step
from tenants.placement.models import Placement, PortQuarantine
from tenants.pool.models import Drain, Host, HostReport
from tenants.shops.models import Tenant
from tenants.states import (
    OPEN_OPERATION_STATES,
    DrainState,
    MoveEnd,
    OperationState,
    StepState,
    TenantState,
)
from tenants.transfers.models import Move

BY = "restore"
# More than a Stoa gives out between a backup and the day it is needed.
EPOCHS, FENCES, SEQUENCES = 1000, 10**6, 10**6
_WORDS = "ended by a restore of the record; look at the shop, then try again"


@transaction.atomic
def settle(*, made_at: str) -> None:
    """Make a restored record safe to start from. Once, before any program runs."""
    Host.objects.update(epoch=F("epoch") + EPOCHS)
    Tenant.objects.update(fence=F("fence") + FENCES)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT setval('tenants_route_order', nextval('tenants_route_order') + %s)", [SEQUENCES]
        )
        # Each route is sent again, with a higher number than edges hold.
        cursor.execute("UPDATE tenants_route SET sequence = nextval('tenants_route_order')")
    _end_what_was_under_way()
    PeriodicRun.objects.all().delete()
    ProgramBeat.objects.all().delete()
    HostReport.objects.all().delete()  # who has not been heard since is not heard
    for name in FreezeSwitch.Name.values:
        freezes.set_switch(
            name, is_on=True, reason=f"the record of {made_at} was restored", changed_by=BY
        )
    Alarm.objects.update_or_create(
        key=RESTORED.key(),
        defaults={"message": alarm()[:500], "since": Now(), "cleared_at": None},
    )


def is_frozen() -> bool:
    """Return whether the record was restored and nobody has let the work go on yet."""
    return FreezeSwitch.objects.filter(is_on=True, changed_by=BY).exists()


def alarm() -> str:
    """Return the alarm that stands meanwhile."""
    switch = FreezeSwitch.objects.filter(is_on=True, changed_by=BY).first()
    if switch is None:
        return ""
    return (
        f"{switch.reason}: nothing is placed, moved, stopped, copied or deleted by itself. Look at what "
        "hosts run that the record does not know (stoa control unknown), then let work go on: "
        "stoa control thaw"
    )


def unknown() -> dict[str, list[str]]:
    """By host, instances that it reports and that the record does not place there."""
    placed: dict[int, set[str]] = {}
    rows = Placement.objects.filter(until__isnull=True).values_list(
        "host_id", "instance__public_id"
    )
    for host_id, instance in rows:
        placed.setdefault(host_id, set()).add(instance)
    return {
        report.host.name: strange
        for report in HostReport.objects.select_related("host").order_by("host__name")
        if (strange := sorted(_reported(report) - placed.get(report.host_id, set())))
    }


@transaction.atomic
def thaw(*, by: str) -> int:
    """Let the work go on that the restore froze; how many switches that were."""
    strangers = unknown()
    for report in HostReport.objects.select_related("host"):
        _leave_their_ports(report, strangers.get(report.host.name, []))
    switches = list(FreezeSwitch.objects.filter(is_on=True, changed_by=BY))
    for switch in switches:
        freezes.set_switch(switch.name, is_on=False, reason="", changed_by=by)
    return len(switches)


def _leave_their_ports(report: HostReport, strangers: list[str]) -> None:
    """Give no port of an instance that the record does not know to another; what lies between is not lost."""
    held = {
        entry["published_port"]
        for entry in report.inventory
        if isinstance(entry, dict)
        and entry.get("instance_id") in strangers
        and isinstance(entry.get("published_port"), int)
    }
    host = Host.objects.select_for_update().get(pk=report.host_id)
    PortQuarantine.objects.filter(host=host, port__in=held).delete()
    top = min(max(held, default=0), host.last_port)
    skipped = [port for port in range(host.next_port, top + 1) if port not in held]
    PortQuarantine.objects.bulk_create(
        [PortQuarantine(host=host, port=port, hostname="") for port in skipped],
        ignore_conflicts=True,
    )
    Host.objects.filter(pk=host.pk).update(next_port=Greatest(F("next_port"), top + 1))


def reported_by(host: Host) -> list[str]:
    """Return every instance a host says it has, which it is to keep while the record is not believed."""
    report = HostReport.objects.filter(host=host).first()
    return sorted(_reported(report)) if report else []


def _reported(report: HostReport) -> set[str]:
    return {
        str(entry["instance_id"])
        for entry in report.inventory
        if isinstance(entry, dict) and isinstance(entry.get("instance_id"), str)
    }


def _end_what_was_under_way() -> None:
    opened = Operation.objects.filter(state__in=OPEN_OPERATION_STATES)
    Step.objects.filter(operation__in=opened, state=StepState.ACTIVE).update(
        state=StepState.FAILED, finished_at=Now(), detail=_WORDS
    )
    for operation in opened.select_related("tenant"):
        transitions.journal(
            "operation", operation.pk, operation.state, OperationState.FAILED, reason=_WORDS
        )
        if operation.tenant.state == TenantState.REQUESTED:
            transitions.move(operation.tenant, TenantState.FAILED, reason=_WORDS)
        # A sign-up that was under way then may have ended since, and its shop may have data.
        operation.arguments = operation.arguments | {"restored": True}
        operation.save(update_fields=["arguments"])
    opened.update(
        state=OperationState.FAILED,
        finished_at=Now(),
        lease_until=None,
        lease_owner="",
        error_code="restored",
        error_message=_WORDS,
    )
    # What a move has left at its second place may be the newest data by now: nothing of it is cleared.
    Move.objects.filter(ended_at__isnull=True).update(ended_at=Now(), end=MoveEnd.UNDONE)
    Drain.objects.filter(state=DrainState.RUNNING).update(
        state=DrainState.CANCELLED, ended_at=Now()
    )
