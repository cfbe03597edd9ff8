"""Tells when a worker is about to begin a step's act or undo, and when it has ended it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tenants.services import leases
from tenants.services.leases import Lease
from tenants.states import STEPS
from workers.flows import run

# What is told: (way, step, when), way being "" forward and "back" on the way back.
Listener = Callable[[str, str, str], None]


def steps_of(verb: str) -> tuple[str, ...]:
    return STEPS[verb]


@contextmanager
def watched(listener: Listener, verb: str) -> Iterator[None]:
    """Provisional: by the steps that flows begin."""
    now = {"step": ""}
    begin = leases._begin

    def begun(lease: Lease, name: str, *, past_cancel: bool) -> bool | None:
        if lease.verb != verb or now["step"] == name:
            return begin(lease, name, past_cancel=past_cancel)
        if now["step"]:
            old, now["step"] = now["step"], ""
            listener("", old, "after")
        told = begin(lease, name, past_cancel=past_cancel)
        now["step"] = name
        if told is False or past_cancel:
            listener("", name, "before")
        return told

    class Shim:
        def carry_out(self, lease, hands):
            now["step"] = ""
            flow.carry_out(lease, hands)
            if now["step"]:
                old, now["step"] = now["step"], ""
                listener("", old, "after")

        def give_up(self, lease, hands, *, code, message):
            now["step"] = ""
            flow.give_up(lease, hands, code=code, message=message)

    flow = run.FLOWS[verb]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "_begin", begun)
        patch.setitem(run.FLOWS, verb, Shim())
        yield
