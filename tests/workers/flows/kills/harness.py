"""Runs one case: a flow, disturbed at one point, then workers and the sweep until nothing is left to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

import pytest
from django.db import OperationalError, connection

from runtime.errors import OutcomeUnknownError, SpecInvalidError
from runtime.wire import to_wire
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool import health
from tenants.pool.models import HostReport
from tenants.snapshots import due
from tenants.states import OPEN_OPERATION_STATES, OperationState
from tests.support.working import work
from tests.workers.flows.kills import points
from tests.workers.flows.kills.disturbances import DISTURBANCES, KilledError, Trouble
from tests.workers.flows.kills.stage import Prepared
from workers.flows.running import returning, run
from workers.reconcilers import drains, instances, missing_data

# A flow that is disturbed once must end within so many goes of a worker; a shop be at rest within so many.
MOST_ROUNDS = 24

# The ways whose steps are calls of the worker, by their number.
CALL, BACK_CALL = "call", "back-call"
CALLS = (CALL, BACK_CALL)
_DUE = """
UPDATE tenants_operation SET run_after = statement_timestamp(), lease_until = NULL WHERE id = %s
"""
_MUCH_LATER = """
WITH instance AS (UPDATE tenants_instance SET state_since = '2020-01-01'),
     placement AS (UPDATE tenants_placement SET since = '2020-01-01'),
     snapshot AS (UPDATE tenants_snapshot SET started_at = '2020-01-01' WHERE state = 'taking')
UPDATE tenants_operation SET finished_at = '2020-01-01' WHERE finished_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One disturbance at one point. way: "" forward, "back" on the way back, CALL or BACK_CALL at a call of
    either: then step is the call's number.
    """

    scene: str
    way: str
    step: str
    when: str
    disturbance: str

    @property
    def name(self) -> str:
        """How pytest calls it."""
        way = [self.way] if self.way else []
        return "-".join([self.scene, *way, self.step, self.when, self.disturbance])


@dataclass
class Journey:
    """One run of a scene's operation, with whatever comes between."""

    prepared: Prepared
    case: Case
    look: Callable[["Journey"], list[str]]
    trouble: Trouble = field(init=False)
    operation: Operation = field(init=False)
    reached: list[tuple[str, str, str]] = field(default_factory=list)
    # How many calls each act has made, and all of them in their order.
    calls: dict[tuple[str, str], int] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    has_fired: bool = False
    is_turned: bool = False
    # How many calls there were before it was made to go back.
    calls_forward: int = 0
    act: tuple[str, str] = ("", "")
    # The operation that a worker was given; the harness looks at the calls of the scene's alone.
    given: int = 0
    # The verbs of what control has opened by itself, to mend what was left.
    mended: list[str] = field(default_factory=list)
    # Whether the reconcilers have their round also where nothing is left to be mended.
    is_mended: bool = False

    def __post_init__(self) -> None:
        self.operation = Operation.objects.get(pk=self.prepared.operation.pk)
        self.trouble = Trouble(self.prepared, self.operation)
        self.prepared.outside.report()
        self.prepared.outside.after = self._after_call
        self.prepared.outside.at_call = self._at_call

    # Points --------------------------------------------------------------------------------------

    def at(self, way: str, step: str, when: str) -> None:
        """A worker has come to a point of the scene's operation."""
        self.reached.append((way, step, when))
        self.prepared.stage.visit(f"{way}{step}-{when}-{len(self.reached)}")
        if when == "before" and way not in CALLS:
            self.act = (way, step)
            self.calls.setdefault(self.act, 0)
        case = self.case
        if not self.has_fired and (way, step, when) == self._point(case):
            self.has_fired = True
            DISTURBANCES[case.disturbance](self.trouble, when)
            if case.way in CALLS and case.disturbance == "answer_lost":
                raise OutcomeUnknownError("the answer did not come")
        self._turn_back(step, when)

    def _at_call(self, who: str, call: str, when: str) -> None:
        if self.given != self.operation.pk:
            return
        if when == "before":
            self.made.append(f"{who}.{call}")
        number = len(self.made) - self.calls_forward
        self.at(BACK_CALL if self.is_turned else CALL, str(number), when)

    def _point(self, case: Case) -> tuple[str, str, str]:
        if case.disturbance == "answer_lost" and case.way not in CALLS:  # armed before the act
            return case.way, case.step, "before"
        return case.way, case.step, case.when

    def _turn_back(self, step: str, when: str) -> None:
        """Where the case is about the way back, the flow is made to take it."""
        scene = self.prepared.scene
        if self.case.way not in ("back", BACK_CALL) or self.is_turned:
            return
        if step == scene.back and when == "after":
            self.is_turned, self.calls_forward = True, len(self.made)
            if scene.back_by == "cancel":
                operations.cancel(self.operation)
            else:
                raise SpecInvalidError("it cannot be started as it is")

    def _after_call(self, who: str, call: str) -> None:
        if self.act not in self.calls:
            return
        self.calls[self.act] += 1
        case = self.case
        if case.disturbance != "answer_lost" or not self.has_fired:
            return
        nth = 1 if case.when == "before" else self.prepared.calls.get((case.way, case.step), 0)
        if self.act == (case.way, case.step) and self.calls[self.act] == nth:
            self.calls[self.act] += 1000
            raise OutcomeUnknownError(f"the answer to {call} did not come")

    # Workers -------------------------------------------------------------------------------------

    def settle(self) -> list[str]:
        """Let workers and the sweep go on until nothing is left to do; every rule that is broken then."""
        with points.watched(self.at, self.prepared.scene.verb):
            for _ in range(MOST_ROUNDS):
                opened = self._opened()
                if not opened:
                    found = self.look(self)
                    if not found and not self.is_mended:
                        return []
                    if not self._mend():
                        return self.look(self)
                    opened = self._opened()
                for operation in opened:
                    self._go(operation)
                self.prepared.outside.end_of_round()
                self.prepared.outside.report()
        last = next(iter(self._opened()), None)
        words = f"{last.verb} {last.error_code} {last.error_message}" if last else "mended for ever"
        return [f"no end after {MOST_ROUNDS} rounds: {words}; {self.told}", *self.look(self)]

    def _go(self, operation: Operation) -> None:
        self.given = operation.pk
        with connection.cursor() as cursor:
            cursor.execute(_DUE, [operation.pk])
        with _waits() as owed, connection.execute_wrapper(self._database):
            try:
                told = work(operation.pk, self.prepared.outside.clients)
            except KilledError:
                told = "killed"
            finally:
                self.trouble.is_database_gone = False
                connection.needs_rollback = False
        for give_back in owed():
            assert returning._done(give_back)
        self.told.append(f"{operation.verb}: {told}")
        self.prepared.stage.visit(f"round-{len(self.told)}")
        self._look_at_the_end(operation)

    def _database(self, execute: Callable[..., Any], *args: Any) -> Any:
        # A session that dies takes its transaction with it.
        is_undone = str(args[0]).startswith(("ROLLBACK", "RELEASE"))
        if self.trouble.is_database_gone and not is_undone:
            raise OperationalError("server closed the connection unexpectedly")
        return execute(*args)

    def _look_at_the_end(self, operation: Operation) -> None:
        """What has just ended well says so of a shop that answers."""
        operation.refresh_from_db()
        if operation.state != OperationState.SUCCEEDED or self.trouble.removal is not None:
            return
        outside = self.prepared.outside
        places = Placement.objects.filter(instance=operation.instance_id, until=None)
        where = places.values_list("host__name", flat=True).first() or ""
        leads = outside.led_to(self.prepared.hostname)
        if leads != where:
            told = f"it is at {where or 'none'}, visitors are led to {leads or 'none'}"
            self.faults.append(f"{operation.verb} succeeded; {told}")

    def _mend(self) -> bool:
        """What control does of itself, a long time later; whether something is open by now."""
        outside = self.prepared.outside
        if outside.weather.rounds > 0:
            return True
        outside.report()
        with connection.cursor() as cursor:
            cursor.execute(_MUCH_LATER)
        for name, driver in outside.drivers.items():
            if name not in outside.lost:
                found = to_wire(driver.list())
                HostReport.objects.filter(host__name=name).update(inventory=found)
        due.give_up_abandoned(100)
        instances.carry_out(outside.clients.driver_for)
        missing_data.carry_out(outside.clients.driver_for)
        drains._clear_leftovers(outside.clients)
        for placement in health.waiting_for_a_place(10):
            health.begin_recovery(placement)
        opened = self._opened()
        self.mended += [operation.verb for operation in opened]
        return bool(opened)

    def _opened(self) -> list[Operation]:
        return list(Operation.objects.filter(state__in=OPEN_OPERATION_STATES))


@contextmanager
def _waits() -> Iterator[Callable[[], list[Callable[[], None]]]]:
    """What a worker without a database has to give back is kept, instead of a thread's trying it."""
    kept = returning.Returns()
    kept._thread = _Alive()  # type: ignore[assignment]

    def owed() -> list[Callable[[], None]]:
        found = []
        while True:
            try:
                found.append(kept._waiting.get_nowait())
            except Empty:
                return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "returns", kept)
        yield owed


class _Alive:
    """Stands for a thread that is there already, so that none is started."""

    def is_alive(self) -> bool:
        return True
