"""Decides where an instance goes: frozen values in, a decision out; no clock, database or dice."""

from workers.scheduler.place import explain, place
from workers.scheduler.types import (
    Decision,
    Instances,
    InstanceView,
    Placed,
    PoolView,
    Resources,
    Unplaced,
    Verdict,
)

__all__ = [
    "Decision",
    "InstanceView",
    "Instances",
    "Placed",
    "PoolView",
    "Resources",
    "Unplaced",
    "Verdict",
    "explain",
    "place",
]
