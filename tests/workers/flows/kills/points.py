"""Tells when a worker is about to begin a step's act or undo, and when it has ended it.

The tables themselves are wrapped; the product has no hook for this.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from workers.flows.running.flow import Flow, FlowStep
from workers.flows.tables import TABLES

# What is told: (way, step, when), way being "" forward and "back" on the way back.
Listener = Callable[[str, str, str], None]
# The write that ends an operation, as if it were one more step.
END = "end"


def forward_points(flow: Flow[Any]) -> list[tuple[str, str, str]]:
    """Every point of the way forward, in the order in which they are come to."""
    names = [*(step.phase for step in flow.steps), END]
    return [("", name, when) for name in names for when in ("before", "after")]


def backward_points(flow: Flow[Any], phase: str) -> list[tuple[str, str, str]]:
    """Every point of the way back from a phase."""
    names = [*(step.phase for step in flow.behind(phase) if step.undo is not None), END]
    return [("back", name, when) for name in names for when in ("before", "after")]


@contextmanager
def watched(listener: Listener, verb: str) -> Iterator[None]:
    """Have the listener called at every point of the verb's flow; what it raises, the worker meets."""
    flow = TABLES[verb]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TABLES, verb, _wrapped(flow, listener))
        yield


def _wrapped(flow: Flow[Any], listener: Listener) -> Flow[Any]:
    def told(way: str, name: str, work: Callable[[Any], None]) -> Callable[[Any], None]:
        def walked(context: Any) -> None:
            listener(way, name, "before")
            work(context)
            listener(way, name, "after")

        return walked

    def step(one: FlowStep[Any]) -> FlowStep[Any]:
        undo = one.undo and told("back", one.phase, one.undo)
        return replace(one, act=told("", one.phase, one.act), undo=undo)

    return replace(
        flow,
        steps=tuple(step(one) for one in flow.steps),
        succeed=told("", END, flow.succeed),
        fail=told("back", END, flow.fail),
    )
