"""What a placed instance is booked at once it was measured: up at once, down only when it lasts."""

from datetime import datetime, timedelta

import numpy as np
from django.utils import timezone

from tenants.catalogue.models import Plan
from tenants.placement import placements
from tenants.placement.bookings import SHAPE_WIDTH, Booking, exact
from tenants.placement.models import Placement
from workers.pool import mapping
from workers.scheduler.demand_vector import CPU_MEAN, CPU_SWING, DISK, F32, MEMORY

# A booking goes down when it was the same for this long and would become this much smaller.
DOWN_AFTER = timedelta(hours=24)
DOWN_BELOW = 0.95
# Of the processor, what is too little to be worth a write.
UP_ABOVE = 1.02


def limits_of(plan: Plan) -> tuple[int, int, int, int]:
    """Return the most an instance on the plan can use, in the order of the scheduler's resources."""
    return plan.cpu_millis, plan.memory_bytes, plan.disk_bytes, plan.egress_bytes_per_second


def booking_of(demand: F32) -> Booking:
    """Return the scheduler's row of figures as a booking."""
    return Booking(
        cpu_millis=exact(float(demand[CPU_MEAN].max())),
        memory_bytes=int(np.ceil(demand[MEMORY])),
        disk_bytes=int(np.ceil(demand[DISK])),
        # Multiples of 1/64, as bookings.exact: they add up and come off again without a trace.
        shape=tuple((np.rint(demand[:SHAPE_WIDTH].astype(np.float64) * 64) / 64).tolist()),
    )


def next_booking(
    placement: Placement, demand: F32, *, now: datetime | None = None
) -> Booking | None:
    """Return the booking for what is expected now, None to leave it as it is.

    More memory, disk or processor is booked at once: memory is never booked below what was seen to be
    needed. Less is booked resource by resource, when it is much less and the booking is a day old.
    """
    old, new = placements.booking_of(placement), booking_of(demand)
    may_go_down = (now or timezone.now()) - placement.booked_at >= DOWN_AFTER
    memory = _chosen(old.memory_bytes, new.memory_bytes, may_go_down=may_go_down)
    disk = _chosen(old.disk_bytes, new.disk_bytes, may_go_down=may_go_down)
    before, after = _busiest(mapping.demand_row(old)), _busiest(demand)
    is_other = after > before * UP_ABOVE or (may_go_down and after < before * DOWN_BELOW)
    cpu = new if is_other else old
    booking = Booking(cpu.cpu_millis, memory, disk, cpu.shape)
    return None if booking == old else booking


def _chosen(old: int, new: int, *, may_go_down: bool) -> int:
    if new > old or (may_go_down and new < old * DOWN_BELOW):
        return new
    return old


def _busiest(demand: F32) -> float:
    """Return what it may want alone at its busiest hour, in millicores."""
    return float((demand[CPU_MEAN] + demand[CPU_SWING]).max())
