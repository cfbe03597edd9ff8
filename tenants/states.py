"""Every state a row can be in, and the one table of moves between them.

A test proves the tables complete; services change state only through
`tenants.core.transitions`, by compare-and-set with a journal row.
"""

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class TenantState(TextChoices):
    """Where a customer's shop stands, as the merchant sees it."""

    REQUESTED = "requested", _("Being set up")
    LIVE = "live", _("Running")
    FAILED = "failed", _("Set-up failed")
    REMOVING = "removing", _("Being removed")
    REMOVED = "removed", _("Removed")


class InstanceState(TextChoices):
    """Where one run of a release for a tenant stands."""

    REQUESTED = "requested", _("Requested")
    PROVISIONING = "provisioning", _("Starting")
    RUNNING = "running", _("Running")
    FAILED = "failed", _("Failed")
    # Its volume is not where the record says, or is not what it was: started only after a choice.
    DATA_MISSING = "data_missing", _("Data missing")
    RETIRING = "retiring", _("Stopping")
    RETIRED = "retired", _("Gone")


class OperationState(TextChoices):
    """How far one verb asked of one tenant has come."""

    PENDING = "pending", _("Waiting")
    RUNNING = "running", _("Working")
    SUCCEEDED = "succeeded", _("Done")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


class StepState(TextChoices):
    """How far one named part of an operation has come."""

    WAITING = "waiting", _("Next")
    ACTIVE = "active", _("Now")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")


class HostState(TextChoices):
    """What an operator wants of a host (whether it answers is measured, not set)."""

    OPEN = "open", _("Open")
    CORDONED = "cordoned", _("Cordoned")
    DRAINING = "draining", _("Being emptied")
    REMOVED = "removed", _("Removed")


class DrainState(TextChoices):
    """How far the emptying of a host has come."""

    RUNNING = "running", _("Working")
    DONE = "done", _("Empty")
    CANCELLED = "cancelled", _("Cancelled")


class MoveEnd(TextChoices):
    """What became of a move."""

    DONE = "done", _("Done")
    UNDONE = "undone", _("Undone")


class HostHealth(TextChoices):
    """Whether a host answers, as it is measured. Silence alone is not loss."""

    ALIVE = "alive", _("Alive")
    UNREACHABLE = "unreachable", _("Unreachable")
    LOST = "lost", _("Lost")


class EventKind(TextChoices):
    """What can befall an instance while it runs."""

    EXITED = "exited", _("Stopped by itself and was started again")
    CRASH_LOOP = "crash_loop", _("Keeps stopping")
    OOM_KILLED = "oom_killed", _("Ran out of memory")
    THROTTLED = "throttled", _("Slowed down by its processor limit")
    DISK_NEAR = "disk_near", _("Almost out of space")
    DISK_OVER = "disk_over", _("Out of space")
    HOST_LOST = "host_lost", _("Its host was lost")
    RECOVERED = "recovered", _("Came back on another host, from a copy of its data")
    DATA_MISSING = "data_missing", _("Its data could not be found")
    DATA_BACK = "data_back", _("Runs again with its data")
    NOT_ANSWERING = "not_answering", _("Not answering")
    UNPLUGGED = "unplugged", _("Was cut off from the network")
    NO_LIMITS = "no_ceilings", _("Ran outside its limits")
    DAMAGED = "damaged", _("What its host keeps of it was damaged")
    CANNOT_END = "cannot_end", _("Cannot be ended")


class DataChoice(TextChoices):
    """What may be done about a shop whose data is missing."""

    WAIT = "wait", _("Look again for the data")
    NEWEST = "newest", _("Start from the newest good copy")
    COPY = "copy", _("Start from an older copy")
    EMPTY = "empty", _("Begin empty")


class SnapshotState(TextChoices):
    """How far a copy of a shop's data, kept off its host, has come."""

    TAKING = "taking", _("Being made")
    KEPT = "kept", _("Kept")
    FAILED = "failed", _("Failed")
    GONE = "gone", _("Being deleted")


class SnapshotDoubt(TextChoices):
    """Why a kept copy never lets an older one go: what it holds may not be what the shop needs."""

    SHRUNK = "shrunk", _("Much smaller than the copies before")
    ANEW = "anew", _("Of a volume that began empty")
    UNUSABLE = "unusable", _("Could not be loaded")


class SnapshotReason(TextChoices):
    """Why a copy was made."""

    PERIODIC = "periodic", _("Regular")
    MOVE = "move", _("Before a move")
    RISKY = "risky", _("Before a change")
    ASKED = "asked", pgettext_lazy("snapshot", "Asked for")


class Verb(TextChoices):
    """What can be asked of a tenant."""

    PROVISION = "provision", _("Set up")
    REPAIR = "repair", _("Repair")
    REMOVE = "remove", _("Remove")
    MOVE = "move", _("Move")
    RECOVER = "recover", _("Bring back")
    RESTORE = "restore", _("Go back to an earlier state")


# Asked for by the platform, not by the shop's own people.
PLATFORM_VERBS = (Verb.MOVE, Verb.RECOVER)

# What starts a shop waits in one line of two lanes (tenants/operations/line.py).
URGENT_VERBS = (Verb.RECOVER, Verb.REPAIR)
PEOPLE_VERBS = (Verb.PROVISION, Verb.RESTORE)
LINE_VERBS = (*URGENT_VERBS, *PEOPLE_VERBS)

SNAPSHOT_TRANSITIONS: dict[str, frozenset[str]] = {
    SnapshotState.TAKING: frozenset({SnapshotState.KEPT, SnapshotState.FAILED, SnapshotState.GONE}),
    # Failed after it was kept: what was read back was not what had been put there.
    SnapshotState.KEPT: frozenset({SnapshotState.FAILED, SnapshotState.GONE}),
    SnapshotState.FAILED: frozenset({SnapshotState.GONE}),
    SnapshotState.GONE: frozenset(),
}

TENANT_TRANSITIONS: dict[str, frozenset[str]] = {
    TenantState.REQUESTED: frozenset({TenantState.LIVE, TenantState.FAILED, TenantState.REMOVING}),
    TenantState.LIVE: frozenset({TenantState.REMOVING}),
    TenantState.FAILED: frozenset({TenantState.REQUESTED, TenantState.LIVE, TenantState.REMOVING}),
    TenantState.REMOVING: frozenset({TenantState.REMOVED}),
    TenantState.REMOVED: frozenset(),
}

INSTANCE_TRANSITIONS: dict[str, frozenset[str]] = {
    InstanceState.REQUESTED: frozenset(
        {InstanceState.PROVISIONING, InstanceState.FAILED, InstanceState.RETIRING}
    ),
    InstanceState.PROVISIONING: frozenset(
        {
            InstanceState.RUNNING,
            InstanceState.FAILED,
            InstanceState.DATA_MISSING,
            InstanceState.RETIRING,
        }
    ),
    InstanceState.RUNNING: frozenset(
        {
            InstanceState.PROVISIONING,
            InstanceState.FAILED,
            InstanceState.DATA_MISSING,
            InstanceState.RETIRING,
        }
    ),
    InstanceState.FAILED: frozenset(
        {InstanceState.PROVISIONING, InstanceState.DATA_MISSING, InstanceState.RETIRING}
    ),
    InstanceState.DATA_MISSING: frozenset({InstanceState.PROVISIONING, InstanceState.RETIRING}),
    InstanceState.RETIRING: frozenset({InstanceState.RETIRED}),
    InstanceState.RETIRED: frozenset(),
}

HOST_TRANSITIONS: dict[str, frozenset[str]] = {
    HostHealth.ALIVE: frozenset({HostHealth.UNREACHABLE}),
    HostHealth.UNREACHABLE: frozenset({HostHealth.ALIVE, HostHealth.LOST}),
    HostHealth.LOST: frozenset({HostHealth.ALIVE}),
}

OPERATION_TRANSITIONS: dict[str, frozenset[str]] = {
    OperationState.PENDING: frozenset(
        {OperationState.RUNNING, OperationState.FAILED, OperationState.CANCELLED}
    ),
    # A repeat goes back to PENDING (attempts counted), the rest are ends.
    OperationState.RUNNING: frozenset(
        {
            OperationState.PENDING,
            OperationState.SUCCEEDED,
            OperationState.FAILED,
            OperationState.CANCELLED,
        }
    ),
    OperationState.SUCCEEDED: frozenset(),
    OperationState.FAILED: frozenset({OperationState.PENDING}),
    OperationState.CANCELLED: frozenset(),
}

OPEN_OPERATION_STATES = (OperationState.PENDING, OperationState.RUNNING)
