"""What Celery may ask of the control plane: names and policies; the work is elsewhere."""

from celery import shared_task

from workers.broker import bounds, users
from workers.flows import clients
from workers.flows.running import line
from workers.leases import periodic
from workers.reconcilers import (
    capacity_check,
    drains,
    host_health,
    images,
    instances,
    missing_data,
    notices,
    rebalancing,
    report_ingest,
    snapshots,
    sweep,
)
from workers.usage import first_looks, forecast, priors, rollup


@shared_task(name="workers.run_operation")
def run_operation(operation_pk: int) -> str:
    """Work on an operation that is free and due, or on who is next in the line of starts."""
    return line.work(operation_pk, clients.real())


@shared_task(name="workers.watch")
def watch_pool() -> str:
    """Write down what hosts and edges report, tell who is lost and bring it back, adopt who returns."""
    return periodic.in_turn(report_ingest.observe, host_health.look, host_health.adopt)


@shared_task(name="workers.sweep")
def sweep_up() -> str:
    """Hand over again what nobody works on, tell whether there is room, keep the broker, empty hosts."""
    return periodic.in_turn(
        sweep.sweep,
        capacity_check.look,
        users.apply_broker_users,
        bounds.bound_broker,
        drains.drive,
    )


@shared_task(name="workers.tidy")
def tidy_journals() -> str:
    """Free ports, tell what is silent, throw old journal rows away."""
    return sweep.tidy()


@shared_task(name="workers.reconcile")
def reconcile_hosts() -> str:
    """Repair missing instances, stop those that are not in the database."""
    return instances.reconcile()


@shared_task(name="workers.look_for_data")
def look_for_data() -> str:
    """Start shops whose data is there again, and say whose is missing."""
    return missing_data.look()


@shared_task(name="workers.apply_broker_users")
def apply_broker_users() -> str:
    """Give hosts and edges their users on the broker."""
    return users.apply_broker_users()


@shared_task(name="workers.collect_images")
def collect_images() -> str:
    """Let hosts remove the images nobody needs."""
    return images.collect()


@shared_task(name="workers.fold_usage")
def fold_shipped_usage() -> str:
    """Learn from what hosts have shipped, and book instances at what they use."""
    return rollup.fold_usage()


@shared_task(name="workers.learn_priors")
def learn_priors() -> str:
    """Learn what new instances are expected to use, from others of their kind."""
    return priors.learn_priors()


@shared_task(name="workers.first_looks")
def look_at_the_first() -> str:
    """Measure the first instances of what nobody knows yet."""
    return first_looks.look(clients.real())


@shared_task(name="workers.rebalance")
def rebalance_pool() -> str:
    """Plan moves that make the pool better, and ask for them where that is allowed."""
    return rebalancing.rebalance()


@shared_task(name="workers.note_pool")
def note_pool() -> str:
    """Write down how many hosts this day needs."""
    return forecast.note_pool()


@shared_task(name="workers.snapshots")
def hand_out_snapshots() -> str:
    """Copy the data of the shops that are due."""
    return snapshots.hand_out()


@shared_task(name="workers.take_snapshot")
def take_snapshot(tenant_pk: int) -> str:
    """Copy a tenant's data off its host, then that of others who are due."""
    return snapshots.work(tenant_pk, clients.real())


@shared_task(name="workers.tidy_snapshots")
def tidy_snapshots() -> str:
    """Delete copies nobody needs, tell of those that are missing."""
    return snapshots.tidy()


@shared_task(name="workers.check_snapshots")
def check_snapshots() -> str:
    """Read some copies again."""
    return snapshots.check()


@shared_task(name="workers.send_notices")
def send_notices() -> str:
    """Tell alarms by mail and webhook."""
    return notices.send()
