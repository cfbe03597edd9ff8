"""What Celery may ask of the control plane: names and policies; the work is elsewhere."""

from celery import shared_task

from workers import (
    broker_bounds,
    broker_users,
    drains,
    first_looks,
    fold_usage,
    health,
    images,
    line,
    missing,
    notices,
    observe,
    outlook,
    periodic,
    priors,
    rebalancing,
    reconcile,
    room,
    snapshots,
    sweep,
)
from workers.flows import hands


@shared_task(name="workers.run_operation")
def run_operation(operation_pk: int) -> str:
    """Work on an operation that is free and due, or on who is next in the line of starts."""
    return line.work(operation_pk, hands.real())


@shared_task(name="workers.watch")
def watch_pool() -> str:
    """Write down what hosts and edges report, tell who is lost and bring it back, adopt who returns."""
    return periodic.in_turn(observe.observe, health.look, health.adopt)


@shared_task(name="workers.sweep")
def sweep_up() -> str:
    """Hand over again what nobody works on, tell whether there is room, keep the broker, empty hosts."""
    return periodic.in_turn(
        sweep.sweep,
        room.look,
        broker_users.apply_broker_users,
        broker_bounds.bound_broker,
        drains.drive,
    )


@shared_task(name="workers.tidy")
def tidy_journals() -> str:
    """Free ports, tell what is silent, throw old journal rows away."""
    return sweep.tidy()


@shared_task(name="workers.reconcile")
def reconcile_hosts() -> str:
    """Repair missing instances, stop those that are not in the database."""
    return reconcile.reconcile()


@shared_task(name="workers.look_for_data")
def look_for_data() -> str:
    """Start shops whose data is there again, and say whose is missing."""
    return missing.look()


@shared_task(name="workers.apply_broker_users")
def apply_broker_users() -> str:
    """Give hosts and edges their users on the broker."""
    return broker_users.apply_broker_users()


@shared_task(name="workers.collect_images")
def collect_images() -> str:
    """Let hosts remove the images nobody needs."""
    return images.collect()


@shared_task(name="workers.fold_usage")
def fold_shipped_usage() -> str:
    """Learn from what hosts have shipped, and book instances at what they use."""
    return fold_usage.fold_usage()


@shared_task(name="workers.learn_priors")
def learn_priors() -> str:
    """What new instances are expected to use, from others of their kind."""
    return priors.learn_priors()


@shared_task(name="workers.first_looks")
def look_at_the_first() -> str:
    """Measure the first instances of what nobody knows yet."""
    return first_looks.look(hands.real())


@shared_task(name="workers.rebalance")
def rebalance_pool() -> str:
    """Plan moves that make the pool better, and ask for them where that is allowed."""
    return rebalancing.rebalance()


@shared_task(name="workers.note_pool")
def note_pool() -> str:
    """Write down how many hosts this day needs."""
    return outlook.note_pool()


@shared_task(name="workers.snapshots")
def hand_out_snapshots() -> str:
    """Copy the data of the shops that are due."""
    return snapshots.hand_out()


@shared_task(name="workers.take_snapshot")
def take_snapshot(tenant_pk: int) -> str:
    """Copy a tenant's data off its host, then that of others who are due."""
    return snapshots.work(tenant_pk, hands.real())


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
