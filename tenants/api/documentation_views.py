"""The OpenAPI description and a page to try it on; all of its scripts are our own static files."""

from typing import Any

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.utils.decorators import method_decorator
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from tenants.api.problems import handle


class SchemaView(SpectacularAPIView):
    """/api/schema/: YAML, or JSON for clients that accept it."""

    authentication_classes = []

    def get_exception_handler(self) -> Any:
        """Problems, as everywhere."""
        return handle


# The page keeps a few lines of style in itself; its scripts come from files, as our policy wants.
@method_decorator(csp_update({"style-src": [SELF, UNSAFE_INLINE]}), name="dispatch")
class DocsView(SpectacularSwaggerSplitView):
    """/api/docs/: Swagger UI."""

    authentication_classes = []
    url_name = "api-schema"
    title = "Stoa API"
