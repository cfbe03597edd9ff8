"""Django's handle on the project's own commands."""

from django.apps import AppConfig

# Made with Django, so that tasks are handed over to the right broker. Not in the package's __init__:
# what runs without Django (`stoa`, controlplane.secrets.pool_ca) must not load Celery.
from controlplane.celery import app as celery_app

__all__ = ["ControlplaneConfig", "celery_app"]


class ControlplaneConfig(AppConfig):
    """No tables here: the record is tenants' alone."""

    name = "controlplane"
