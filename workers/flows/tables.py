"""Every verb with its table of steps; a verb without one ends the import."""

from types import ModuleType
from typing import Any

from tenants.states import Verb
from workers.flows import move, provision, recover, remove, restore
from workers.flows.flow import Context, Flow, opened


def _whole(verb: str, module: ModuleType) -> Flow[Context]:
    """A flow that still walks its steps itself."""

    def fail(context: Context) -> None:
        module.give_up(context.lease, context.hands, code=context.code, message=context.message)
        context.ended = "cancelled" if context.code == "cancelled" else "failed"

    def succeed(context: Context) -> None:
        module.carry_out(context.lease, context.hands)
        context.ended = "done"

    return Flow(
        verb=verb,
        steps=(),
        open=opened,
        succeed=succeed,
        fail=fail,
    )


TABLES: dict[str, Flow[Any]] = {
    Verb.PROVISION: provision.FLOW,
    Verb.REPAIR: provision.REPAIR,
    Verb.REMOVE: remove.FLOW,
    Verb.RECOVER: _whole(Verb.RECOVER, recover),
    Verb.MOVE: move.FLOW,
    Verb.RESTORE: restore.FLOW,
}
if set(TABLES) != set(Verb):
    raise ValueError(f"without a table of steps: {sorted(set(Verb) - set(TABLES))}")
