"""The tables, one module per noun."""

from tenants.models.brakes import Brake
from tenants.models.catalogue import App, Plan, Release
from tenants.models.demand import (
    HostWeek,
    InstanceProfile,
    PoolDay,
    Prior,
    RebalancePlan,
    RebalanceSetting,
    Shortage,
)
from tenants.models.events import InstanceEvent
from tenants.models.hosts import Edge, Host, HostReport, HostUsage, JoinToken, PortQuarantine
from tenants.models.members import ApiToken, IdempotencyKey, Member, Membership
from tenants.models.metrics import MetricSum
from tenants.models.moves import Drain, Move
from tenants.models.notices import Notice
from tenants.models.operations import (
    Alarm,
    Decision,
    FreezeSwitch,
    Operation,
    PeriodicRun,
    ProgramBeat,
    Step,
    Transition,
)
from tenants.models.snapshots import Snapshot, SnapshotSchedule
from tenants.models.tenants import FirstLogin, Instance, Placement, Route, Tenant

__all__ = [
    "Alarm",
    "ApiToken",
    "App",
    "Brake",
    "Decision",
    "Drain",
    "Edge",
    "FirstLogin",
    "FreezeSwitch",
    "Host",
    "HostReport",
    "HostUsage",
    "HostWeek",
    "IdempotencyKey",
    "Instance",
    "InstanceEvent",
    "InstanceProfile",
    "JoinToken",
    "Member",
    "Membership",
    "MetricSum",
    "Move",
    "Notice",
    "Operation",
    "PeriodicRun",
    "Placement",
    "Plan",
    "PoolDay",
    "PortQuarantine",
    "Prior",
    "ProgramBeat",
    "RebalancePlan",
    "RebalanceSetting",
    "Release",
    "Route",
    "Shortage",
    "Snapshot",
    "SnapshotSchedule",
    "Step",
    "Tenant",
    "Transition",
]
