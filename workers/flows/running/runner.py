"""Carries a flow out, step by step, and back again: the one way for all verbs.

Before a step acts, its phase is recorded with the lease. So the next claim continues where the last one
was, and no worker acts whose lease is lost. When an operation is to end badly, that is recorded first. Then
the undos of what was begun are called in reverse; after a death in between, all of them again.
"""

from django.db import transaction

from tenants.errors import DATABASE_AWAY, CancelledError, LeaseLostError
from tenants.operations import attempts, leases, steps
from workers.flows.errors import SwapFailedError
from workers.flows.running.flow import C, Flow, FlowStep


def forward(flow: Flow[C], context: C) -> None:
    """Go on to the good end. Raises what stood in the way, LeaseLostError, CancelledError."""
    try:
        for step in flow.ahead(context.operation.phase):
            _begin(context, step)
            step.act(context)
        flow.succeed(context)
    except (LeaseLostError, CancelledError, SwapFailedError, *DATABASE_AWAY):
        raise
    except Exception as error:
        if not steps.at(flow.verb, context.operation.phase).is_tried_once:
            raise
        # The shop stands still: back at once rather than another try from here.
        raise SwapFailedError(attempts.failure_of(error)[1]) from error


def unwind(flow: Flow[C], context: C, *, code: str, message: str) -> None:
    """Undo what was begun, and write the bad end. Raises WaitError where that cannot be done yet.

    Whoever goes on with it after a death does so for the code and message that were recorded first.
    """
    operation = context.operation
    if not operation.unwind_code:
        leases.begin_unwinding(context.lease, code=code, message=message)
        operation.unwind_code, operation.unwind_message = code, message
    for step in flow.behind(operation.phase):
        if step.undo is not None:
            leases.check_ours(context.lease)
            step.undo(context)
    flow.fail(context)


def _begin(context: C, step: FlowStep[C]) -> None:
    if step.record is None:
        context.operation.phase = leases.begin_step(context.lease, step.phase)
        return
    with transaction.atomic():
        phase = leases.begin_step(context.lease, step.phase)
        step.record(context)
    context.operation.phase = phase
