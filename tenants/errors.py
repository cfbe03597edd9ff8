"""What the record refuses, and how it says so.

TenantsError                 carries a stable code, an HTTP status and the field it is about
├── FieldError               one input field is wrong (400)
│   ├── QueryError           one parameter of the query is wrong (422)
│   ├── SlugTakenError       (409)
│   └── EmailTakenError      (409)
├── NotFoundError            (404)
├── JoinRefusedError         a join token does not let this machine in (403)
├── StateConflictError       the row is no longer what the caller thought (409)
├── OperationOpenError       another operation of this tenant is still open (409)
├── TooManyTriesError        tried too often; wait_seconds says when to come again (429)
├── TooManyShopsError        a login has as many shops as it may open itself (409)
├── BusyError                too many ask for the same costly thing; ask again (503)
├── TooManyMovesError        as many shops are on their way as may be at once (503)
├── RouteRefusedError        an edge could not serve this route (409)
├── SnapshotLostError        the repository does not hold what it should (503)
├── RepositoryError          the repository cannot be asked (503); tenants/snapshots/repositories/protocol.py
├── KeyReusedError           an idempotency key came before with another payload (422)
├── LeaseLostError           another worker has taken the operation over; stop
├── CancelledError           somebody asked this operation to stop
├── WaitError                what the operation needs is not there yet; waiting uses nothing up
│   ├── SlotsTakenError      every start slot is taken just now; it keeps its place in the line
│   ├── PoolUnseenError      no host that may have room can be seen right now (503)
│   ├── RoomAwaitedError     no host has room, and this must not be given up
│   ├── UpdateAwaitedError   the host's agent is too old to be trusted with the start of a shop that has data
│   └── FrozenError          an operator has frozen this kind of work (503)
└── NoRoomError              no host in the pool has room (503)
"""

from django.db import InterfaceError, InternalError, OperationalError
from django.utils.functional import Promise

# What a database raises that is away, stopping, read-only, full or locked for too long. Its other errors
# say that it works, and that we asked for something wrong.
DATABASE_AWAY = (OperationalError, InterfaceError, InternalError)

Text = str | Promise


class TenantsError(Exception):
    """Root of what the record refuses."""

    code = "tenants"
    status = 400

    def __init__(self, message: Text, *, field: str = "") -> None:
        super().__init__(str(message))
        self.message = message
        self.field = field


class FieldError(TenantsError):
    """One input field is wrong; message names the value and the remedy."""

    code = "invalid"


class QueryError(FieldError):
    """One parameter of the query cannot be used; message names the value and the remedy."""

    status = 422


class SlugTakenError(FieldError):
    """The address belongs to somebody else."""

    code = "slug_taken"
    status = 409


class EmailTakenError(FieldError):
    """The e-mail address already has a login."""

    code = "email_taken"
    status = 409


class NotFoundError(TenantsError):
    """There is no such thing, or it is not yours."""

    code = "not_found"
    status = 404


class JoinRefusedError(TenantsError):
    """A join token is unknown, over, or another machine's."""

    code = "join_refused"
    status = 403


class StateConflictError(TenantsError):
    """The row is no longer in the state the caller saw."""

    code = "state_conflict"
    status = 409


class OperationOpenError(TenantsError):
    """Another operation of this tenant is still open."""

    code = "operation_open"
    status = 409


class TooManyTriesError(TenantsError):
    """Somebody tried this too often; the next try counts after wait_seconds."""

    code = "throttled"
    status = 429

    def __init__(self, message: Text, *, wait_seconds: int) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class TooManyShopsError(TenantsError):
    """A login has as many living shops as it may open itself."""

    code = "too_many_shops"
    status = 409


class BusyError(TenantsError):
    """What was asked for costs much, and as many ask for it as this machine bears."""

    code = "busy"
    status = 503
    wait_seconds = 2


class TooManyMovesError(TenantsError):
    """As many shops are on their way to another host as may be at once."""

    code = "too_many_moves"
    status = 503


class RouteRefusedError(TenantsError):
    """An edge says that it cannot serve such a route; nothing was recorded, and no wait cures it."""

    code = "route_refused"
    status = 409


class SnapshotLostError(TenantsError):
    """The repository of snapshots does not hold what it should: the copy is not to be had any more."""

    code = "snapshot_lost"
    status = 503


class KeyReusedError(TenantsError):
    """An idempotency key came before with another payload."""

    code = "idempotency_key_reused"
    status = 422


class LeaseLostError(TenantsError):
    """Another worker holds the operation now."""

    code = "lease_lost"
    status = 409


class CancelledError(TenantsError):
    """Somebody asked this operation to stop."""

    code = "cancelled"
    status = 409


class WaitError(TenantsError):
    """What the operation needs is not there yet: nothing is wrong with what was asked.

    The operation goes back to wait. That uses up neither an attempt nor its time. `pause_seconds` is
    when it is due again; `longest_seconds` bounds how long it waits in one go (None: as long as it
    takes), and counts tries: time in which nobody could try uses nothing up. `keeps_place`: it goes
    back to its place in the line of starts, and is tried again as soon as a slot is free.
    """

    code = "waiting"
    status = 503
    longest_seconds: float | None = None
    pause_seconds: float = 2.0
    keeps_place = False


class SlotsTakenError(WaitError):
    """As many shops are starting as can start at once, on every host that has room."""

    code = "busy"
    pause_seconds = 0.5
    keeps_place = True


class PoolUnseenError(WaitError):
    """No host that may have room reports just now; this says nothing about room."""

    code = "pool_unseen"
    longest_seconds = 600.0


class RoomAwaitedError(WaitError):
    """No host has room now, for something that must not be given up: a shop that had a host."""

    code = "no_room"
    pause_seconds = 5.0


class UpdateAwaitedError(WaitError):
    """The host's agent is older than control: it would start a shop that lost its data on an empty volume."""

    code = "host_outdated"
    pause_seconds = 5.0


class FrozenError(WaitError):
    """An operator has frozen this kind of work."""

    code = "frozen"
    pause_seconds = 5.0


class NoRoomError(TenantsError):
    """Every host was looked at and none has room; the message names the scarce resource."""

    code = "no_room"
    status = 503
