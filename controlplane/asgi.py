"""/events/ only: live pages hold connections open for minutes, which threads would be wasted on."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.base")

# Sets Django up (apps, logging); the events application below routes and answers by itself.
get_asgi_application()

from controlplane.events import application  # noqa: E402 - needs Django set up first

__all__ = ["application"]
