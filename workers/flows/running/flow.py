"""A verb as a table of steps, and what the steps of one attempt share.

The facts of each step (its name, longest time, where a cancel is heard) stand in tenants/operations/steps.py.
A flow binds to each step what it does and how that is undone. One runner carries all flows out (runner.py).
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from runtime.driver import Driver
from tenants.operations import attempts, leases
from tenants.operations.leases import Lease
from tenants.operations.models import Operation
from tenants.operations.steps import STEPS, StepFacts
from tenants.pool.models import Host
from workers.flows.clients import Clients


@dataclass(slots=True)
class Context:
    """One attempt at an operation: what all its steps act with. A flow adds what it needs beside.

    stack: closed when the attempt ends, however it ends.
    ended: "done", "failed" or "cancelled" once the end of the operation is written.
    """

    lease: Lease
    clients: Clients
    operation: Operation
    stack: ExitStack = field(default_factory=ExitStack)
    ended: str = ""

    @property
    def code(self) -> str:
        """Why the operation goes back; "" while it goes forward."""
        return self.operation.unwind_code

    @property
    def message(self) -> str:
        """Why the operation goes back, for people."""
        return self.operation.unwind_message

    def driver(self, host: Host) -> Driver:
        """Return the driver of a host."""
        return self.clients.driver_for(host)

    def keep(self, **facts: object) -> None:
        """Write what a later attempt has to know into the arguments. Raises LeaseLostError."""
        self.operation.arguments = self.operation.arguments | facts
        leases.keep_arguments(self.lease, self.operation.arguments)

    def succeed(self, reason: str = "done") -> None:
        """Write that the operation ended well; in the transaction of what else the end writes."""
        attempts.succeed(self.lease, reason=reason)
        self.ended = "done"

    def end_badly(self, code: str, message: str) -> None:
        """Write that the operation failed or was called off; in the transaction of the end."""
        self.ended = attempts.end_badly(self.lease, code=code, message=message)


C = TypeVar("C", bound=Context)


def nothing(_: Context) -> None:
    """What a step does that only writes."""


@dataclass(frozen=True, slots=True)
class Work(Generic[C]):
    """What a step does. Each part may be repeated, and looks at how things are before it changes them.

    act: the work, outside of any transaction. undo: takes back what act did, or may have done; called
    also when act never ran. record: written in the transaction that records the step's phase, before act.
    """

    act: Callable[[C], None] = nothing
    undo: Callable[[C], None] | None = None
    record: Callable[[C], None] | None = None


@dataclass(frozen=True, slots=True)
class FlowStep(Generic[C]):
    """One row of a flow's table: the facts, and what is bound to them (Work)."""

    facts: StepFacts
    act: Callable[[C], None]
    undo: Callable[[C], None] | None = None
    record: Callable[[C], None] | None = None

    @property
    def name(self) -> str:
        """What people see."""
        return self.facts.name

    @property
    def phase(self) -> str:
        """What the record says."""
        return self.facts.phase


@dataclass(frozen=True, slots=True)
class Flow(Generic[C]):
    """How a verb is carried out.

    open: what the steps of one attempt share. succeed: writes the good end, in one transaction.
    fail: writes the bad end after the undos, from what they found and Context.code.
    """

    verb: str
    steps: tuple[FlowStep[C], ...]
    open: Callable[[Lease, Clients], C]
    succeed: Callable[[C], None]
    fail: Callable[[C], None]

    def ahead(self, phase: str) -> tuple[FlowStep[C], ...]:
        """Return the steps that an attempt makes when the record says that this is the furthest one."""
        found = next((step.facts for step in self.steps if step.phase == phase), None)
        if found is None:
            return self.steps
        first = found.again_from or found.phase
        names = [step.phase for step in self.steps]
        return self.steps[names.index(first) :]

    def behind(self, phase: str) -> tuple[FlowStep[C], ...]:
        """Return the steps to undo, the latest first: from the furthest one back to the last pivot."""
        names = [step.phase for step in self.steps]
        begun = self.steps[: names.index(phase) + 1] if phase in names else ()
        pivots = [place for place, step in enumerate(begun) if step.facts.is_pivot]
        return begun[pivots[-1] if pivots else 0 :][::-1]


def table(
    verb: str,
    work: Mapping[str, Work[C]],
    *,
    open: Callable[[Lease, Clients], C],  # noqa: A002 - what the flow does first
    succeed: Callable[[C], None],
    fail: Callable[[C], None],
) -> Flow[C]:
    """Bind to each step of the verb what it does, by phase. Raises ValueError on any difference."""
    facts = STEPS[verb]
    known, bound = [step.phase for step in facts], list(work)
    if known != bound:
        raise ValueError(
            f"{verb}: tenants/operations/steps.py has the steps {known}, its flow has {bound}"
        )
    steps = tuple(
        FlowStep(step, work[step.phase].act, work[step.phase].undo, work[step.phase].record)
        for step in facts
    )
    return Flow(verb, steps, open, succeed, fail)
