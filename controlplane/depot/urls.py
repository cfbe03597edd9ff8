"""What the program `depot` serves: /internal/ alone, over TLS, to the agents of this pool."""

from django.urls import include, path

urlpatterns = [path("internal/v1/", include("tenants.api.internal.urls"))]

# The pages' own need addresses of pages.
handler404 = "tenants.api.internal.views.missing"
handler500 = "tenants.api.internal.views.broken"
