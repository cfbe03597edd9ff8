"""From what the keeper shows and the record says to the statuses and errors of the driver protocol."""

from typing import Any

from runtime.bundle import InstanceRecord
from runtime.errors import ExitedError
from runtime.keeper.supervised import is_crash_looping
from runtime.specs import Fence, InstanceSpec
from runtime.statuses import ContainerState, DiskState, InstanceStatus, Trouble, TroubleKind
from runtime.units import grown

_STATES = {
    "queued": ContainerState.STARTING,
    "starting": ContainerState.STARTING,
    "running": ContainerState.RUNNING,
    "stopping": ContainerState.RUNNING,
}


def status_of(
    record: InstanceRecord,
    shown: dict[str, Any],
    fence: Fence,
    *,
    address: str,
    oom_kills: int,
    disk: DiskState,
) -> InstanceStatus:
    """Return the status of an instance this host holds; shown is the keeper's view, {} when it has none.

    oom_kills: the count its cgroup shows now.
    """
    phase, age = shown.get("phase", ""), shown.get("age_seconds", 0.0)
    return InstanceStatus(
        instance_id=record.spec.instance_id,
        state=_STATES.get(phase, ContainerState.EXITED),
        tenant=record.spec.tenant,
        healthy=bool(shown.get("healthy")),
        pid=shown.get("pid", 0),
        address=address,
        published_port=record.spec.published_port,
        image_digest=record.spec.image_digest,
        fence=fence,
        restarts=shown.get("restarts", 0),
        exit_code=shown.get("exit_code"),
        age_seconds=age,
        timings_ms=shown.get("timings_ms", {}),
        # The keeper counts when a container ends; what the present one adds is read here.
        oom_kills=shown.get("oom_kills", 0) + grown(shown.get("oom_base", 0), oom_kills),
        crash_looping=is_crash_looping(phase, shown.get("failures", 0), age),
        last_lines=tuple(shown.get("last_lines", ())),
        disk=disk,
        troubles=_troubles(shown),
    )


def status_of_damaged(
    instance_id: str, shown: dict[str, Any], fence: Fence, damage: Trouble | None
) -> InstanceStatus:
    """Return the status of an instance whose record is gone or cannot be read: what the keeper knows, and
    why.
    """
    missing = Trouble(
        TroubleKind.DAMAGED, "its record is gone from its host's disk", wants_start=True
    )
    return InstanceStatus(
        instance_id=instance_id,
        state=_STATES.get(shown.get("phase", ""), ContainerState.EXITED),
        healthy=bool(shown.get("healthy")),
        pid=shown.get("pid", 0),
        fence=fence,
        restarts=shown.get("restarts", 0),
        exit_code=shown.get("exit_code"),
        age_seconds=shown.get("age_seconds", 0.0),
        troubles=(damage or missing, *_troubles(shown)),
    )


def needs_start(shown: dict[str, Any]) -> bool:
    """Return whether only a start mends what the keeper shows. One that gave no answer is asked again
    first.
    """
    return any(
        trouble.wants_start and trouble.kind is not TroubleKind.NOT_ANSWERING
        for trouble in _troubles(shown)
    )


def _troubles(shown: dict[str, Any]) -> tuple[Trouble, ...]:
    return tuple(
        Trouble(TroubleKind(kind), message, wants_start=wants_start)
        for kind, message, wants_start in shown.get("troubles", ())
    )


def ended_badly(spec: InstanceSpec, exit_code: int, log_lines: tuple[str, ...]) -> ExitedError:
    """Return the error for a program that ended before it was well; its own last words are the best
    explanation.
    """
    last = f": {log_lines[-1].split(' ', 2)[-1]}" if log_lines else ""
    return ExitedError(
        f"{spec.instance_id} ended with exit code {exit_code} before it was healthy{last}",
        instance_id=spec.instance_id,
        exit_code=exit_code,
        log_lines=[*log_lines],
    )
