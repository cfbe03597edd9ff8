"""Bringing a shop back to its data: place, load a copy where the data is not, start, route, check.

Two things lead here: a host that was lost, and somebody's choice for a shop whose data is missing. Data
comes first. The place in the record, with whatever is left there, is given up in the transaction that
follows a whole load elsewhere; until then the next place is only booked beside it, as a move does. So a
host that comes back before has its shop again, with nothing lost, and no repair can find a place that
has no data.

A copy that turns out damaged is marked and the next older one taken. Whatever else stands in the way,
the repository, the depot, room, a host that is silent, is waited for as long as it takes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from runtime.errors import (
    DataMissingError,
    HostError,
    HostUnreachableError,
    OutcomeUnknownError,
)
from tenants import metrics
from tenants.errors import (
    CancelledError,
    FrozenError,
    NoRoomError,
    PoolUnseenError,
    SnapshotLostError,
    StateConflictError,
)
from tenants.models import Decision, FreezeSwitch, HostReport, Move, Operation, Placement, Snapshot
from tenants.queries import snapshots as copies
from tenants.repositories import RepositoryError
from tenants.services import (
    freezes,
    health,
    leases,
    missing,
    moves,
    operations,
    placements,
    routes,
    transitions,
)
from tenants.services.leases import Lease
from tenants.states import DataChoice, EventKind, HostHealth, InstanceState, TenantState
from workers import fleet, pool_snapshot, scheduler
from workers.flows import placing, ports, routing, volumes
from workers.flows.errors import DataAwaitedError, LeftoversError, NoCopyError
from workers.flows.hands import Hands
from workers.scheduler import Unplaced

LONGEST_PAUSE_SECONDS = 30.0  # between two looks of one that waits


def carry_out(lease: Lease, hands: Hands) -> None:
    """Bring the shop back. Raises what stood in the way; the caller waits, repeats or gives up."""
    recovery = _Recovery.of(lease, hands)
    with _waiting(recovery.operation):
        placement = recovery.placed()
        recovery.start(placement)
    leases.begin_step(lease, "route")
    ready = routing.lead_to(recovery.operation, placement, hands)
    leases.begin_step(lease, "check")
    routing.check(recovery.operation, ready, hands)
    recovery.record(placement)


def give_up(lease: Lease, hands: Hands, *, code: str, message: str) -> None:
    """End the operation badly. The shop keeps its place, and its data or the lack of it is said."""
    recovery = _Recovery.of(lease, hands)
    operation, beside = recovery.operation, recovery.beside
    is_clear = False
    if beside is not None and beside.operation_id == operation.pk:
        is_clear = placing.clear(beside, lease.fence, hands)
    with transaction.atomic():
        if code == CancelledError.code:
            operations.cancelled(lease, message=message)
        else:
            operations.fail(lease, code=code, message=message)
        if is_clear and beside is not None:
            moves.close(beside, hostname=routes.hostname_of(operation.tenant))
        has_data = "loaded" in operation.arguments or missing.has_begun_empty(operation)
        is_chosen = "choice" in operation.arguments
        if (is_chosen and not has_data) or code in (NoCopyError.code, DataMissingError.code):
            missing.say(operation.instance, reason=message)
        elif operation.instance.state != InstanceState.FAILED:
            transitions.move(operation.instance, InstanceState.FAILED, reason=message)


@contextmanager
def _waiting(operation: Operation) -> Iterator[None]:
    """What a host, an operator or time will give is waited for; it uses up nothing.

    Who has waited long looks less often: a try may take seconds of a worker's, and many may wait.
    """
    since = operation.waiting_since
    pause = (timezone.now() - since).total_seconds() / 4 if since else 0.0
    pause = max(DataAwaitedError.pause_seconds, min(pause, LONGEST_PAUSE_SECONDS))
    try:
        yield
    except DataAwaitedError as error:
        error.pause_seconds = pause
        raise
    except (
        HostUnreachableError,
        OutcomeUnknownError,
        LeftoversError,
        NoRoomError,
        PoolUnseenError,
        FrozenError,
        RepositoryError,
    ) as error:
        awaited = DataAwaitedError(str(error))
        awaited.pause_seconds = pause
        raise awaited from error


@dataclass(slots=True)
class _Recovery:
    """One shop on its way back. beside: the place that is booked beside the record's."""

    lease: Lease
    operation: Operation
    hands: Hands
    beside: Move | None

    @classmethod
    def of(cls, lease: Lease, hands: Hands) -> "_Recovery":
        operation = fleet.operation(lease)
        return cls(lease, operation, hands, moves.open_move(operation.instance))

    def placed(self) -> Placement:
        """Where the shop is to be started, its data being there."""
        with transaction.atomic():
            leases.begin_step(self.lease, "place")
            placing.say_starting(self.operation)
        old = placements.open_placement(self.operation.instance)
        if old is None:
            raise StateConflictError(f"{self.operation.instance.public_id} is on no host any more")
        self._clear_strange_place(old)
        return self._elsewhere(old) if old.host.health == HostHealth.LOST else self._here(old)

    def start(self, placement: Placement) -> None:
        """Start the shop there. One that begins empty is known to have data before anybody can order."""
        leases.begin_step(self.lease, "start")
        # Which copy was loaded, how old it is and what is lost.
        leases.note_step(self.lease, "load", self._sentence())
        spec = fleet.spec_of(self.operation, placement)
        if spec.new_volume and routes.leads_to(
            self.operation.tenant, address=placement.host.address, port=placement.port
        ):
            # The edges never stopped leading there: visitors reach it before its start has ended.
            self._keep(begun=missing.TRIED)
        ports.start(self.lease, spec, placement, self.hands.driver_for(placement.host))
        if spec.new_volume:
            self._keep(begun=missing.DONE)

    @transaction.atomic
    def record(self, placement: Placement) -> None:
        """The shop runs."""
        if not _is_alive(placement):
            raise HostUnreachableError(f"host {placement.host.name} was lost in the meantime")
        operation, arguments = self.operation, self.operation.arguments
        operations.succeed(self.lease)
        reason = "answered through the edge"
        transitions.move(operation.instance, InstanceState.RUNNING, reason=reason)
        if operation.tenant.state != TenantState.LIVE:
            transitions.move(operation.tenant, TenantState.LIVE, reason="the shop answers")
        told = ["choice", "lost_host"]
        if arguments.get("loaded"):
            told += ["snapshot", "taken_at", "lost_seconds", "skipped"]
        facts = {name: arguments[name] for name in told if name in arguments}
        kind = EventKind.RECOVERED if "lost_host" in facts else EventKind.DATA_BACK
        health.note(operation.instance, kind, {"host": placement.host.name} | facts)

    # Where ---------------------------------------------------------------------------------------

    def _clear_strange_place(self, old: Placement) -> None:
        """End a move that this has overtaken, and let go of a place that is not needed any more."""
        if self.beside is None:
            return
        is_ours = self.beside.operation_id == self.operation.pk
        is_gone = moves.is_lost_since(self.beside.target, self.beside.target_epoch)
        if is_ours and not is_gone and old.host.health == HostHealth.LOST:
            return
        placing.clear_overtaken(self.lease, self.operation, self.hands)
        self.beside = None

    def _here(self, old: Placement) -> Placement:
        """At the place of the record, whose host is not lost."""
        leases.begin_step(self.lease, "load")
        # Without a choice a lost host led here, and it is back: its own data is newer than any copy.
        is_doubted = bool(self._choice) or missing.is_told(self.operation.instance)
        has_begun = missing.has_begun_empty(self.operation)
        if fleet.volume_of(self.operation) and is_doubted and not has_begun:
            self._find_data(old)
        return old

    def _find_data(self, old: Placement) -> None:
        """See to it that the data lies where a start finds it, and that nothing runs beside it."""
        volume, driver = fleet.volume_of(self.operation), self.hands.driver_for(old.host)
        is_here = volume in driver.volumes_here((volume,))
        if not is_here or "loaded" not in self.operation.arguments:
            # It may run on, in a directory that is not the volume any more: a start would leave it so.
            driver.ensure_stopped(
                self.operation.instance.public_id, fence=fleet.fence_of(old, self.lease)
            )
        if is_here:
            self._keep(loaded=self.operation.arguments.get("loaded", ""))
        elif not self._choice:
            raise DataMissingError(f"volume {volume}: it is not on this host as it was known")
        elif self._wants_copy:
            self._load(old, old, only_missing=True)

    def _elsewhere(self, old: Placement) -> Placement:
        """On another host: booked beside the lost one, loaded, and only then the place of the record."""
        if freezes.is_on(FreezeSwitch.Name.REPLACING):
            raise FrozenError("an operator has stopped bringing shops back elsewhere for a while")
        if "begun" in self.operation.arguments:
            self._end_choice()
        if self._needs_copy and self._next_copy() is None:
            raise self._no_copy(old)
        if self.beside is None:
            self.beside = self._reserve(old)
        beside = self.beside
        leases.begin_step(self.lease, "load")
        if self._needs_copy:
            target = Placement(
                instance=self.operation.instance, host=beside.target, port=beside.target_port
            )
            self._load(old, target, only_missing=False)
        with transaction.atomic():
            moves.change_place(self.lease, beside)
            moves.close(beside, hostname=routes.hostname_of(self.operation.tenant))
            self._keep(host=beside.target.name, lost_host=old.host.name)
        self.beside = None
        placement = placements.open_placement(self.operation.instance)
        if placement is None:
            raise StateConflictError(f"{self.operation.instance.public_id} is on no host any more")
        return placement

    def _reserve(self, old: Placement) -> Move:
        instance = self.operation.instance
        decision = scheduler.place(
            fleet.view_of(instance, placements.booking_of(old)), pool_snapshot.read()
        )
        if isinstance(decision, Unplaced):
            if self.operation.waiting_since is not None:  # written down when the wait began
                raise NoRoomError("no host has room for the shop yet")
            placing.refuse(self.lease, self.operation, decision)
        reasons = list(decision.reasons)
        with transaction.atomic():
            leases.begin_step(self.lease, "place")
            for host_id in decision.candidates:
                if host_id == old.host_id:
                    continue
                beside = moves.reserve(self.operation, old, host_id, reasons=reasons)
                if beside is not None:
                    Decision.objects.create(
                        instance=instance,
                        host_name=beside.target.name,
                        outcome="placed",
                        reasons=reasons,
                    )
                    return beside
        metrics.REFUSALS.labels(self.operation.verb, "taken").inc()
        raise NoRoomError("every host that had room was taken in the meantime")

    # Which copy ----------------------------------------------------------------------------------

    @property
    def _choice(self) -> str:
        return str(self.operation.arguments.get("choice", ""))

    @property
    def _wants_copy(self) -> bool:
        return self._choice != DataChoice.EMPTY

    @property
    def _needs_copy(self) -> bool:
        return bool(fleet.volume_of(self.operation)) and self._wants_copy

    def _load(self, old: Placement, target: Placement, *, only_missing: bool) -> None:
        """Load the newest copy that is good, or the one that was chosen."""
        while (copy := self._next_copy()) is not None:
            self._remember(old, copy)
            try:
                found = volumes.load(
                    self.lease,
                    self.operation,
                    target,
                    self.hands,
                    copy,
                    only_missing=only_missing,
                )
            except SnapshotLostError:
                self._skip(copy)  # damaged, unusable, or not kept any more; it is marked
            except (HostUnreachableError, OutcomeUnknownError):
                raise
            except HostError as error:
                raise DataAwaitedError(
                    f"copy {copy.public_id} cannot be loaded just now: {error.message}"
                ) from error
            else:
                self._keep(loaded=copy.public_id if found.snapshot else "")
                return
        raise self._no_copy(old)

    def _next_copy(self) -> Snapshot | None:
        skipped = [str(one) for one in self.operation.arguments.get("skipped", [])]
        found = copies.candidates(self.operation.tenant, excluding=skipped, limit=200)
        chosen = self.operation.arguments.get("chosen_at")
        if isinstance(chosen, str):
            found = [one for one in found if one.started_at <= datetime.fromisoformat(chosen)]
        return found[0] if found else None

    def _skip(self, copy: Snapshot) -> None:
        skipped = [*self.operation.arguments.get("skipped", []), copy.public_id]
        self._keep(skipped=skipped)

    def _no_copy(self, old: Placement) -> NoCopyError:
        skipped = len(self.operation.arguments.get("skipped", []))
        tried = f"; {skipped} could not be used" if skipped else ""
        if old.host.health == HostHealth.LOST:
            return NoCopyError(
                f"no good copy of the shop's data is kept off lost host {old.host.name}{tried}; it"
                " comes back with that host, with nothing lost"
            )
        return NoCopyError(f"no good copy of the shop's data is kept{tried}")

    def _remember(self, old: Placement, copy: Snapshot) -> None:
        facts: dict[str, object] = {"snapshot": copy.public_id}
        if copy.taken_at is not None:
            facts["taken_at"] = copy.taken_at.isoformat()
            facts["lost_seconds"] = _lost_seconds(old, copy.taken_at)
        self._keep(**facts)

    def _keep(self, **facts: object) -> None:
        self.operation.arguments = self.operation.arguments | facts
        leases.keep_arguments(self.lease, self.operation.arguments)

    def _end_choice(self) -> None:
        """The shop that was to begin empty has begun, or may have, on the host that is lost: from now on it
        is brought back as any other.
        """
        gone = ("choice", "begun")
        arguments = self.operation.arguments
        self.operation.arguments = {name: arguments[name] for name in arguments if name not in gone}
        leases.keep_arguments(self.lease, self.operation.arguments)

    def _sentence(self) -> str:
        arguments = self.operation.arguments
        if self._choice == DataChoice.EMPTY:
            return "begun empty, as was asked for"
        taken_at, lost = arguments.get("taken_at"), arguments.get("lost_seconds")
        if not arguments.get("loaded") or not isinstance(taken_at, str):
            return "its data is there; nothing had to be loaded"
        since = f"; what changed in the {lost} s after it is lost" if isinstance(lost, int) else ""
        skipped = len(arguments.get("skipped", []))
        newer = f"; {skipped} newer could not be used" if skipped else ""
        return f"copy of {datetime.fromisoformat(taken_at):%Y-%m-%d %H:%M:%S} UTC{since}{newer}"


def _lost_seconds(old: Placement, taken_at: datetime) -> int:
    """For how long before its host was heard last the shop's changes are in no copy."""
    seen_at = HostReport.objects.filter(host=old.host_id).values_list("seen_at", flat=True).first()
    last: datetime = seen_at or taken_at
    return max(0, round((last - taken_at).total_seconds()))


def _is_alive(placement: Placement) -> bool:
    return Placement.objects.filter(
        pk=placement.pk, until__isnull=True, host__epoch=placement.host.epoch
    ).exists()
