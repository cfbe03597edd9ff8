"""Whether a shop's data is missing or waited for, and what may be chosen; only reads."""

from dataclasses import dataclass
from datetime import datetime

from tenants.shops import member_shops
from tenants.shops.models import Instance, Tenant
from tenants.snapshots import snapshot_queries
from tenants.snapshots.models import Snapshot
from tenants.states import DataChoice, EventKind, InstanceState, Verb

LISTED = 50


@dataclass(frozen=True, slots=True)
class Missing:
    """A shop that is not started for want of its data.

    is_waiting: something is bringing it back and waits. reason: for operators and programs.
    """

    since: datetime
    reason: str
    is_waiting: bool
    copies: tuple[Snapshot, ...]

    @property
    def choices(self) -> tuple[str, ...]:
        """Return what may be chosen now."""
        of_copies = (DataChoice.NEWEST, DataChoice.COPY) if self.copies else ()
        return tuple(str(choice) for choice in (DataChoice.WAIT, *of_copies, DataChoice.EMPTY))


def of(tenant: Tenant) -> Missing | None:
    """Return what is to be said of the shop's data; None while it is where it should be."""
    instance = Instance.objects.filter(tenant=tenant).order_by("-pk").first()
    opened = member_shops.open_operation_of(tenant)
    if opened is not None and opened.verb == Verb.RECOVER and opened.waiting_since is not None:
        return Missing(opened.waiting_since, opened.error_message, True, _copies(tenant))
    if instance is None or instance.state != InstanceState.DATA_MISSING or opened is not None:
        return None
    event = instance.events.filter(kind=EventKind.DATA_MISSING).order_by("-pk").first()
    reason = str(event.details.get("reason", "")) if event else ""
    return Missing(instance.state_since, reason, False, _copies(tenant))


def _copies(tenant: Tenant) -> tuple[Snapshot, ...]:
    return tuple(snapshot_queries.candidates(tenant, limit=LISTED))
