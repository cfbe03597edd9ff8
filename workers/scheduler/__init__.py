"""Decides where an instance goes: frozen values in, a decision out; no clock, database or dice."""

from workers.scheduler.place import place
from workers.scheduler.values import (
    Decision,
    HostView,
    InstanceView,
    Placed,
    Refusal,
    Resources,
    Unplaced,
)

__all__ = [
    "Decision",
    "HostView",
    "InstanceView",
    "Placed",
    "Refusal",
    "Resources",
    "Unplaced",
    "place",
]
