"""The tables, one module per noun."""

from tenants.models.catalogue import App, Plan, Release
from tenants.models.events import InstanceEvent
from tenants.models.hosts import Edge, Host, HostReport, HostUsage, JoinToken, PortQuarantine
from tenants.models.members import ApiToken, IdempotencyKey, Member, Membership
from tenants.models.operations import (
    Alarm,
    Decision,
    FreezeSwitch,
    Operation,
    PeriodicRun,
    Step,
    Transition,
)
from tenants.models.tenants import FirstLogin, Instance, Placement, Route, Tenant

__all__ = [
    "Alarm",
    "ApiToken",
    "App",
    "Decision",
    "Edge",
    "FirstLogin",
    "FreezeSwitch",
    "Host",
    "HostReport",
    "HostUsage",
    "IdempotencyKey",
    "Instance",
    "InstanceEvent",
    "JoinToken",
    "Member",
    "Membership",
    "Operation",
    "PeriodicRun",
    "Placement",
    "Plan",
    "PortQuarantine",
    "Release",
    "Route",
    "Step",
    "Tenant",
    "Transition",
]
