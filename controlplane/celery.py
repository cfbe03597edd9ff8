"""The control plane's Celery app: queues `control`, `wake`, `sweep` and `observe`.

Hosts and edges run apps of their own (workers/agent), without Django and with their own broker user.
"""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from workers.beat import SCHEDULE

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.base")

app = Celery("stoa")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.beat_schedule = SCHEDULE


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Connected only so that Celery leaves alone the JSON logging that the settings configure."""
