"""Everything but /events/: gunicorn's gthread workers serve this."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.base")

application = get_wsgi_application()
