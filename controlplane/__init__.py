"""The Django project: what is configured, what answers where, the control plane's Celery app, and `stoa`."""
