"""Measures the first instances of a kind within a minute: those behind them are booked at what they use.

A program that nobody has measured is booked at a moderate guess. As soon as some of its instances have run
for a few seconds, their hosts are asked twice for samples. The difference becomes the prior of the kind (an
app on a plan). It is looked at again every few minutes until the hourly lessons (workers/usage/priors.py)
know the kind for a day. What is placed already and has no profile of its own yet is booked anew: so programs
that use much more than was guessed fill their hosts in the record too, and no more are sent there.
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from runtime.errors import RuntimeCoreError
from runtime.units import MIB, Sample
from tenants.catalogue.models import App, Plan
from tenants.placement import placements, resizing
from tenants.placement.bookings import Booking, exact
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.states import HostHealth, InstanceState
from tenants.usage import profiles
from tenants.usage.models import InstanceProfile, Prior
from workers.flows.clients import Clients
from workers.leases.periodic import once

# Boot is over; what comes then is what an instance does while nobody visits, or somebody.
SETTLED = timedelta(seconds=10)
BETWEEN_SECONDS = 5.0
AGAIN_AFTER = timedelta(minutes=3)
MOST_INSTANCES, MOST_HOSTS, MOST_KINDS = 40, 3, 5
# What a look of seconds may have missed, and the least that is believed of any program.
CPU_MARGIN, LEAST_CPU_MILLIS = 1.5, 0.25
MEMORY_MARGIN, DISK_MARGIN = 1.1, 2.0
# Of what is placed already: less than this is not worth a write; so many at once.
OTHERWISE = 0.15
MOST_REBOOKED = 500


@dataclass(frozen=True, slots=True)
class Use:
    """What one instance was seen to use."""

    cpu_millis: float
    memory_bytes: int
    disk_bytes: int


@once("first_looks")
def look(clients: Clients) -> str:
    """Measure the kinds that are due; tell how many there were."""
    kinds = list(_due())
    # Those that cannot be measured just now stay due: they must not keep the others waiting for ever.
    random.shuffle(kinds)
    seen: dict[int, dict[str, Use]] = {}
    looked = changed = 0
    for app, plan in kinds[:MOST_KINDS]:
        found = _placed(app, plan)
        for host in {placement.host_id: placement.host for placement in found}.values():
            if host.pk not in seen and len(seen) < MOST_HOSTS:
                seen[host.pk] = _measured(host, clients)
        uses = [
            use
            for placement in found
            if (use := seen.get(placement.host_id, {}).get(placement.instance.public_id))
            is not None
        ]
        if uses:
            changed += _learn(app, plan, uses)
            looked += 1
    return f"{looked} kinds looked at, {changed} instances booked anew" if looked else ""


def expected(uses: Sequence[Use], plan: Plan, known: Booking | None) -> Booking:
    """Return what to book for the next one. More than was known is believed at once, less half of the way."""
    memory = float(np.quantile([use.memory_bytes for use in uses], 0.95)) * MEMORY_MARGIN + MIB
    disk = float(np.quantile([use.disk_bytes for use in uses], 0.95)) * DISK_MARGIN + MIB
    cpu = float(np.mean([use.cpu_millis for use in uses])) * CPU_MARGIN
    cpu = max(cpu, LEAST_CPU_MILLIS)
    if known is not None:
        cpu = max(cpu, (cpu + known.cpu_millis) / 2)
        memory = max(memory, (memory + known.memory_bytes) / 2)
        disk = max(disk, (disk + known.disk_bytes) / 2)
    return Booking(
        cpu_millis=exact(min(cpu, plan.cpu_millis)),
        memory_bytes=int(min(memory, plan.memory_bytes)),
        disk_bytes=int(min(disk, plan.disk_bytes)),
    )


def _due() -> Iterator[tuple[App, Plan]]:
    """Kinds with instances that run, which nobody knows yet or which were only looked at a while ago."""
    known = Prior.objects.filter(app=OuterRef("pk"))
    fresh = Q(is_early=False) | Q(at__gt=Now() - AGAIN_AFTER)
    for plan in Plan.objects.all():
        runs = _settled().filter(instance__tenant__app=OuterRef("pk"), instance__tenant__plan=plan)
        for app in App.objects.filter(~Exists(known.filter(fresh, plan=plan)), Exists(runs)):
            yield app, plan


def _settled() -> QuerySet[Placement]:
    return Placement.objects.filter(
        until=None,
        since__lt=Now() - SETTLED,
        instance__state=InstanceState.RUNNING,
        host__health=HostHealth.ALIVE,
    )


def _placed(app: App, plan: Plan) -> list[Placement]:
    rows = _settled().filter(instance__tenant__app=app, instance__tenant__plan=plan)
    return list(rows.select_related("host", "instance").order_by("-pk")[:MOST_INSTANCES])


def _measured(host: Host, clients: Clients) -> dict[str, Use]:
    """Use by instance, between two samples; {} where the host does not say."""
    driver = clients.driver_for(host)
    try:
        began = time.monotonic()
        before = {sample.instance_id: sample for sample in driver.samples()}
        time.sleep(BETWEEN_SECONDS)
        after = driver.samples()
    except RuntimeCoreError:
        return {}
    seconds = time.monotonic() - began
    return {
        sample.instance_id: use
        for sample in after
        if sample.instance_id in before
        and (use := _between(before[sample.instance_id], sample, seconds)) is not None
    }


def _between(before: Sample, after: Sample, seconds: float) -> Use | None:
    """None when it began anew in between."""
    if after.cpu_nanos < before.cpu_nanos:
        return None
    cpu_millis = (after.cpu_nanos - before.cpu_nanos) / seconds / 1e6
    return Use(cpu_millis, max(before.memory_bytes, after.memory_bytes), after.disk_bytes)


def _learn(app: App, plan: Plan, uses: Sequence[Use]) -> int:
    row = Prior.objects.filter(app=app, plan=plan).first()
    known = Booking(row.cpu_millis, row.memory_bytes, row.disk_bytes) if row else None
    booking = expected(uses, plan, known)
    profiles.store_prior(app.pk, plan.pk, booking, instances=len(uses), is_early=True)
    return _rebook(app, plan, booking)


@transaction.atomic
def _rebook(app: App, plan: Plan, booking: Booking) -> int:
    """Book at it the instances that have no profile of their own yet; a bounded number, the others in later
    rounds.
    """
    profile = InstanceProfile.objects.filter(instance=OuterRef("instance"))
    low, high = 1 - OTHERWISE, 1 + OTHERWISE
    other = Q()
    for name in ("cpu_millis", "memory_bytes", "disk_bytes"):
        amount = getattr(booking, name)
        other |= Q(**{f"{name}__lt": amount * low}) | Q(**{f"{name}__gt": amount * high})
    rows = (
        Placement.objects.select_for_update(of=("self",), skip_locked=True)
        .filter(other, ~Exists(profile), until=None)
        .filter(instance__tenant__app=app, instance__tenant__plan=plan)
        .order_by("host_id", "pk")[:MOST_REBOOKED]
    )
    by_host: dict[int, list[tuple[Placement, Booking]]] = {}
    for placement in rows:
        if booking != placements.booking_of(placement):
            by_host.setdefault(placement.host_id, []).append((placement, booking))
    return sum(resizing.rebook(host_id, changes) for host_id, changes in by_host.items())
