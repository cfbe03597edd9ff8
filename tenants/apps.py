"""Django's handle on the record."""

from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """The one app that owns tables."""

    name = "tenants"
    default_auto_field = "django.db.models.BigAutoField"
