"""Which copy a shop is brought back from: the newest that is good, or the one that was chosen.

Kept in the operation's arguments:

snapshot, taken_at, lost_seconds   of the copy that is tried.
skipped   those that could not be used.
loaded    the one that lies in the volume; "" where the shop's own data was there after all.
"""

from datetime import datetime

from runtime.errors import HostError, HostUnreachableError, OutcomeUnknownError
from tenants.errors import SnapshotLostError
from tenants.operations import leases
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool.models import HostReport
from tenants.snapshots import snapshot_queries
from tenants.snapshots.models import Snapshot
from tenants.states import HostHealth
from workers.flows.errors import DataAwaitedError, NoCopyError
from workers.flows.steps import volumes
from workers.flows.steps.routing import Routed


def check(recovery: Routed) -> None:
    """Raise NoCopyError where none is left that could be loaded."""
    if _next(recovery.operation) is None:
        raise _none_left(recovery)


def load(recovery: Routed, target: Placement, *, only_missing: bool) -> None:
    """Load the next copy that can be, at the target. only_missing: unless the data is there after all."""
    while (copy := _next(recovery.operation)) is not None:
        leases.check(recovery.lease)  # a cancel is heard before the data is there, not after it
        _remember(recovery, copy)
        try:
            found = volumes.load(
                recovery.lease,
                recovery.operation,
                target,
                recovery.clients,
                copy,
                only_missing=only_missing,
            )
        except SnapshotLostError:
            # Damaged, unusable, or not kept any more; it is marked.
            recovery.keep(skipped=[*_skipped(recovery.operation), copy.public_id])
        except (HostUnreachableError, OutcomeUnknownError):
            raise
        except HostError as error:
            raise DataAwaitedError(
                f"copy {copy.public_id} cannot be loaded just now: {error.message}"
            ) from error
        else:
            recovery.keep(loaded=copy.public_id if found.snapshot else "")
            return
    raise _none_left(recovery)


def sentence(operation: Operation) -> str:
    """Return which copy was loaded, how old it is and what is lost."""
    arguments = operation.arguments
    taken_at, lost = arguments.get("taken_at"), arguments.get("lost_seconds")
    if not arguments.get("loaded") or not isinstance(taken_at, str):
        return "its data is there; nothing had to be loaded"
    since = f"; what changed in the {lost} s after it is lost" if isinstance(lost, int) else ""
    skipped = len(_skipped(operation))
    newer = f"; {skipped} newer could not be used" if skipped else ""
    return f"copy of {datetime.fromisoformat(taken_at):%Y-%m-%d %H:%M:%S} UTC{since}{newer}"


def _next(operation: Operation) -> Snapshot | None:
    found = snapshot_queries.candidates(operation.tenant, excluding=_skipped(operation), limit=200)
    chosen = operation.arguments.get("chosen_at")
    if isinstance(chosen, str):
        found = [copy for copy in found if copy.started_at <= datetime.fromisoformat(chosen)]
    return found[0] if found else None


def _skipped(operation: Operation) -> list[str]:
    return [str(name) for name in operation.arguments.get("skipped", [])]


def _none_left(recovery: Routed) -> NoCopyError:
    skipped, host = len(_skipped(recovery.operation)), recovery.placement.host
    tried = f"; {skipped} could not be used" if skipped else ""
    if host.health == HostHealth.LOST:
        return NoCopyError(
            f"no good copy of the shop's data is kept off lost host {host.name}{tried}; it comes back"
            " with that host, with nothing lost"
        )
    return NoCopyError(f"no good copy of the shop's data is kept{tried}")


def _remember(recovery: Routed, copy: Snapshot) -> None:
    facts: dict[str, object] = {"snapshot": copy.public_id}
    if copy.taken_at is not None:
        facts["taken_at"] = copy.taken_at.isoformat()
        facts["lost_seconds"] = _lost_seconds(recovery.placement, copy.taken_at)
    recovery.keep(**facts)


def _lost_seconds(old: Placement, taken_at: datetime) -> int:
    """For how long before its host was heard last the shop's changes are in no copy."""
    seen_at = HostReport.objects.filter(host=old.host_id).values_list("seen_at", flat=True).first()
    last: datetime = seen_at or taken_at
    return max(0, round((last - taken_at).total_seconds()))
