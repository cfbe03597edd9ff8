"""What the API answers with, written straight from rows: no serializer works between the two."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tenants import labels, steps
from tenants.models import (
    InstanceEvent,
    JoinToken,
    Operation,
    Plan,
    Snapshot,
    SnapshotSchedule,
    Step,
    Tenant,
)
from tenants.queries import joins, line, missing, shops
from tenants.queries.drains import Progress
from tenants.queries.pool import Amount, HostView
from tenants.states import EventKind, OperationState, StepState, TenantState

Body = dict[str, Any]


def tenant(row: Tenant) -> Body:
    """A shop. Needs the row's plan and app loaded."""
    return {
        "id": row.public_id,
        "slug": row.slug,
        "shop_name": row.shop_name,
        "address": shops.address(row.slug),
        "admin_address": shops.admin_address(row.slug),
        "language": row.language,
        "plan": row.plan.slug,
        "app": row.app.slug,
        "state": str(row.state),
        "state_since": moment(row.state_since),
        "data_missing_since": moment(getattr(row, "data_missing_since", None)),
        # A shop that has just been signed up for has no such events yet.
        "is_answering": row.state == TenantState.LIVE and not getattr(row, "is_silent", False),
        "created_at": moment(row.created_at),
    }


def operation(row: Operation, steps: Iterable[Step], *, for_operator: bool) -> Body:
    """An operation with its steps. Needs the row's tenant loaded."""
    return {
        "id": row.public_id,
        "verb": str(row.verb),
        "state": str(row.state),
        "tenant": row.tenant.slug,
        "tenant_id": row.tenant.public_id,
        "attempts": row.attempts,
        "waiting": _waiting(row, for_operator=for_operator),
        "cancel_requested": row.cancel_requested,
        "error": _error(row, for_operator=for_operator),
        "created_at": moment(row.created_at),
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at),
        "seconds": _seconds(row.created_at, row.finished_at),
        "steps": [_step(row, step, for_operator=for_operator) for step in steps],
    }


def _waiting(row: Operation, *, for_operator: bool) -> Body | None:
    """What an operation waits for and its place in the line; None for one that does not wait."""
    if row.state != OperationState.PENDING:
        return None
    place = line.place(row.verb, row.queued_at) if row.is_in_line else None
    if place is None and row.waiting_since is None:
        return None
    return {
        "for": "a_slot" if place else row.error_code,
        "ahead": place.ahead if place else None,
        "seconds": place.seconds if place else None,
        "since": moment(row.waiting_since or row.queued_at),
        "told": row.error_message if for_operator else "",
    }


def fresh_steps(row: Operation) -> list[Step]:
    """The steps of an operation that was opened a moment ago, without asking the database."""
    return [
        Step(position=position, name=name, state=StepState.WAITING)
        for position, name in enumerate(steps.names(row.verb))
    ]


def links(row: Operation) -> dict[str, str]:
    """Where to go on from an operation."""
    return {
        "operation": f"/api/v1/operations/{row.public_id}",
        "tenant": f"/api/v1/tenants/{row.tenant.slug}",
        "page": f"/operations/{row.public_id}/",
    }


def plan(row: Plan) -> Body:
    """A plan with its price and ceilings."""
    return {
        "slug": row.slug,
        "name": {"en": row.name_en, "ja": row.name_ja},
        "summary": {"en": row.summary_en, "ja": row.summary_ja},
        "price_minor": row.price_minor,
        "currency": row.currency,
        "cpu_millis": row.cpu_millis,
        "memory_bytes": row.memory_bytes,
        "pids": row.pids,
        "disk_bytes": row.disk_bytes,
    }


def event(row: InstanceEvent) -> Body:
    """Something that befell a shop. Needs the row's instance loaded."""
    return {
        "id": row.pk,
        "kind": str(row.kind),
        "label": str(EventKind(row.kind).label),
        "advice": str(labels.event_advice(row.kind)),
        "instance": row.instance.public_id,
        "count": row.count,
        "first_at": moment(row.first_at),
        "last_at": moment(row.last_at),
        "ended_at": moment(row.ended_at),
        "details": row.details,
    }


def snapshot(row: Snapshot) -> Body:
    """A kept copy of a shop's data."""
    return {
        "id": row.public_id,
        "taken_at": moment(row.taken_at),
        "reason": str(row.reason),
        "volume_bytes": row.volume_bytes,
        "archive_bytes": row.archive_bytes,
        "files": row.files,
        "skipped": row.skipped,
        "doubt": str(row.doubt),
        "is_difference": row.depth > 0,
        "checked_at": moment(row.checked_at),
    }


def data(found: missing.Missing | None, *, for_operator: bool) -> Body:
    """Whether a shop's data is missing, and what may be chosen."""
    return {
        "is_missing": found is not None,
        "is_waiting": found is not None and found.is_waiting,
        "since": moment(found.since) if found else None,
        "reason": found.reason if found and for_operator else "",
        "choices": [*found.choices] if found else [],
        "copies": [snapshot(row) for row in found.copies] if found else [],
    }


def snapshot_schedule(row: SnapshotSchedule | None, plan: Plan) -> Body:
    """How old the newest copy is, and when the next is due."""
    return {
        "period_minutes": plan.snapshot_period_minutes,
        "taken_at": moment(row.taken_at) if row else None,
        "due_at": moment(row.due_at) if row else None,
        "failures": row.failures if row else 0,
    }


def host(view: HostView) -> Body:
    """A host with what it holds and what is measured on it."""
    return {
        "name": view.host.name,
        "state": str(view.host.state),
        "address": view.host.address,
        "zone": view.host.zone,
        "engine": view.host.engine,
        "epoch": view.host.epoch,
        "health": str(view.host.health),
        "health_since": moment(view.host.health_since),
        "labels": view.host.labels,
        "ports": [view.host.first_port, view.host.last_port],
        "instances": view.holds,
        "is_heard": view.is_heard,
        "seen_at": moment(view.seen_at),
        "age_seconds": None if view.age_seconds is None else round(view.age_seconds, 1),
        "cpu_millis": _amount(view.cpu_millis),
        "memory_bytes": _amount(view.memory_bytes),
        "disk_bytes": _amount(view.disk_bytes),
    }


def join_token(row: JoinToken) -> Body:
    """A join token without its secret. Needs a row of `joins.tokens()`."""
    return {
        "id": row.key_id,
        "state": joins.state(row),
        "zone": row.zone,
        "labels": row.labels,
        "created_by": row.created_by,
        "created_at": moment(row.created_at),
        "expires_at": moment(row.expires_at),
        "used_at": moment(row.used_at),
        "host": row.host.name if row.host else None,
    }


def drain(found: Progress) -> Body:
    """The emptying of a host. Needs the drain's host loaded."""
    return {
        "host": found.drain.host.name,
        "state": str(found.drain.state),
        "total": found.total,
        "moved": found.moved,
        "left": found.left,
        "still_there": found.still_there,
        "longest_held_ms": found.longest_held_ms,
        "started_at": moment(found.drain.started_at),
        "ended_at": moment(found.drain.ended_at),
        "seconds": round(found.seconds, 1),
        "eta_seconds": None if found.eta_seconds is None else round(found.eta_seconds, 1),
        "under_way": [
            {"tenant": one.tenant.slug, "operation": one.public_id, "step": _step_now(one)}
            for one in found.under_way
        ],
        "troubles": [
            {
                "tenant": one.slug,
                "operation": one.operation_id,
                "code": one.code,
                "message": one.message,
                "is_retried": one.is_retried,
                "at": moment(one.at),
            }
            for one in found.troubles
        ],
    }


def _step_now(row: Operation) -> str:
    return next((one.name for one in row.steps.all() if one.state == StepState.ACTIVE), "")


def _amount(amount: Amount) -> Body:
    return {
        "capacity": amount.capacity,
        "reserve": amount.reserve,
        "booked": amount.booked,
        "measured": amount.measured,
    }


def _step(row: Operation, step: Step, *, for_operator: bool) -> Body:
    return {
        "name": step.name,
        "label": str(labels.step(row.verb, step.name)),
        "state": str(step.state),
        # Details name hosts and addresses of ours.
        "detail": step.detail if for_operator else "",
        "started_at": moment(step.started_at),
        "finished_at": moment(step.finished_at),
        "seconds": _seconds(step.started_at, step.finished_at),
    }


def _error(row: Operation, *, for_operator: bool) -> Body | None:
    if not row.error_code:
        return None
    message = (
        row.error_message
        if for_operator
        else str(labels.failure(row.verb, row.error_code, row.state, phase=row.phase))
    )
    return {"code": row.error_code, "message": message}


def moment(at: datetime | None) -> str | None:
    """A time as the API writes it."""
    return at.isoformat().replace("+00:00", "Z") if at else None


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None:
        return None
    return round(max(0.0, (end - start).total_seconds()), 3)
