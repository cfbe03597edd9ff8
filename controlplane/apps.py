"""Django's handle on the project's own commands."""

from django.apps import AppConfig


class ControlplaneConfig(AppConfig):
    """No tables here: the record is tenants' alone."""

    name = "controlplane"
