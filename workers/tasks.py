"""What Celery may ask of the control plane: names and policies; the work is elsewhere."""

from celery import shared_task

from workers import broker_users, fold_usage, images, observe, priors, reconcile, sweep
from workers.flows import hands, run


@shared_task(name="workers.run_operation")
def run_operation(operation_pk: int) -> str:
    """Work on an operation, if it is free and due."""
    return run.run(operation_pk, hands.real())


@shared_task(name="workers.sweep")
def sweep_operations() -> str:
    """Hand over again what nobody works on."""
    return sweep.sweep()


@shared_task(name="workers.tidy")
def tidy_journals() -> str:
    """Free ports, tell what is silent, throw old journal rows away."""
    return sweep.tidy()


@shared_task(name="workers.observe")
def observe_reports() -> str:
    """Write down what hosts and edges report."""
    return observe.observe()


@shared_task(name="workers.reconcile")
def reconcile_hosts() -> str:
    """Repair what is missing, stop what is nobody's."""
    return reconcile.reconcile()


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
