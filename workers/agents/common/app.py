"""The Celery application of an agent, with every setting that keeps agents apart and calls at most once."""

import logging
import warnings

from celery import Celery
from celery.exceptions import SecurityWarning

from workers.broker.transport import PatientAmqp

RESULT_SECONDS = 300
CALLS_AT_ONCE = 8
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_SOCKET = {"socket_timeout": 15, "socket_connect_timeout": 3, "socket_keepalive": True}


def create_app(queue: str, *, broker_url: str) -> Celery:
    """Return the application of the agent that consumes `queue`; results go the way the calls came."""
    # No fixups: with DJANGO_SETTINGS_MODULE in the environment Celery would load all of Django (40 MB).
    app = Celery(queue, amqp=PatientAmqp, broker=broker_url, backend=broker_url, fixups=[])
    app.conf.update(
        task_default_queue=queue,
        task_queues=None,
        broker_transport_options={**_SOCKET, "priority_steps": [0]},
        # At most once: the flow's own repeat is the only retry there is.
        task_acks_late=False,
        worker_pool="threads",
        worker_concurrency=CALLS_AT_ONCE,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # of a full Redis, say: an agent would end for it
        broker_heartbeat=0,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        result_expires=RESULT_SECONDS,
        result_extended=False,
        # The caller reads the first thing published for its call as the answer.
        task_track_started=False,
        redis_socket_timeout=5,
        redis_socket_connect_timeout=3,
        redis_retry_on_timeout=True,
        # The caller stops waiting within seconds, so sending an answer for longer is of no use.
        result_backend_transport_options={
            "retry_policy": {
                "max_retries": 5,
                "interval_start": 0.1,
                "interval_step": 0.5,
                "interval_max": 2,
            }
        },
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_redirect_stdouts=False,
        worker_log_format=LOG_FORMAT,
        worker_task_log_format=LOG_FORMAT,
        task_default_delivery_mode="transient",
    )
    # Celery sets its logging up only after worker_init, where most that can go wrong goes wrong.
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    _quiet_what_would_show_arguments()
    return app


def _quiet_what_would_show_arguments() -> None:
    # Celery logs what a task returned, and at debug level what it was given; calls hold tenants' settings.
    for name in ("celery.app.trace", "celery.worker.strategy", "celery.worker.request"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Celery warns of running as root with JSON too, where it is no danger; a host's agent has to be root.
    warnings.filterwarnings("ignore", category=SecurityWarning)
