"""Where Django looks for the tables of the app. Everybody else takes a table from its subject's models."""

from tenants.accounts.models import ApiToken, Member
from tenants.activity.models import InstanceEvent
from tenants.catalogue.models import App, Plan, Release
from tenants.core.models import (
    Alarm,
    Brake,
    FreezeSwitch,
    MetricSum,
    Notice,
    PeriodicRun,
    ProgramBeat,
    Transition,
)
from tenants.operations.models import IdempotencyKey, Operation, Step
from tenants.placement.models import Decision, Placement, PortQuarantine, Route, Shortage
from tenants.pool.models import Drain, Edge, Host, HostReport, JoinToken
from tenants.shops.models import FirstLogin, Instance, Membership, Tenant
from tenants.snapshots.models import Snapshot, SnapshotSchedule
from tenants.transfers.models import Move, RebalancePlan, RebalanceSetting
from tenants.usage.models import HostUsage, HostWeek, InstanceProfile, PoolDay, Prior

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
