"""The Django project: what is configured, what answers where, and the control plane's Celery app."""

from controlplane.celery import app as celery_app

__all__ = ["celery_app"]
