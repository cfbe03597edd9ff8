"""When each periodic task is asked for. A request that was not taken within its period is dropped:
a queue that was down must not come back with a pile of them. What is done every two seconds shares one
message per queue: sending and taking a message costs as much as most of what it asks for.
"""

from datetime import UTC, datetime

# As in workers/broker/queues.py, which this must not need: beat is a program that only sends names.
SWEEP = "sweep"
OBSERVE = "observe"

_PERIODS: dict[str, tuple[float, str]] = {
    "workers.watch": (2.0, OBSERVE),
    "workers.sweep": (2.0, SWEEP),
    "workers.reconcile": (10.0, SWEEP),
    "workers.look_for_data": (10.0, SWEEP),
    "workers.tidy": (60.0, SWEEP),
    "workers.send_notices": (5.0, SWEEP),
    "workers.fold_usage": (60.0, SWEEP),
    "workers.first_looks": (5.0, SWEEP),
    "workers.learn_priors": (3600.0, SWEEP),
    "workers.rebalance": (600.0, SWEEP),
    "workers.note_pool": (900.0, SWEEP),
    "workers.snapshots": (5.0, SWEEP),
    "workers.tidy_snapshots": (60.0, SWEEP),
    "workers.check_snapshots": (300.0, SWEEP),
    "workers.collect_images": (3600.0, SWEEP),
}

# Beat keeps nothing on disk, which may be full: what comes once an hour begins with it.
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_RARE_SECONDS = 3600.0

SCHEDULE: dict[str, dict[str, object]] = {
    name: {
        "task": name,
        "schedule": seconds,
        "options": {"queue": queue, "expires": seconds, "ignore_result": True},
        **({"last_run_at": _LONG_AGO} if seconds >= _RARE_SECONDS else {}),
    }
    for name, (seconds, queue) in _PERIODS.items()
}
