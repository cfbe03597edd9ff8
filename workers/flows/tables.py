"""Every verb with its table of steps; a verb without one ends the import."""

from typing import Any

from tenants.states import Verb
from workers.flows import move, provision, recover, remove, restore
from workers.flows.running.flow import Flow

_FLOWS: tuple[Flow[Any], ...] = (
    provision.FLOW,
    provision.REPAIR,
    remove.FLOW,
    recover.FLOW,
    move.FLOW,
    restore.FLOW,
)
TABLES: dict[str, Flow[Any]] = {flow.verb: flow for flow in _FLOWS}

if set(TABLES) != set(Verb):
    raise ValueError(f"without a table of steps: {sorted(set(Verb) - set(TABLES))}")
