"""What answers at which path of the console host. /events/ is served apart (controlplane/asgi.py)."""

from importlib.util import find_spec

from django.urls import include, path

from controlplane import health_views

urlpatterns = [
    path("livez", health_views.livez),
    path("readyz", health_views.readyz),
    path("i18n/", include("django.conf.urls.i18n")),
]
for prefix, urls in (  # LANDING
    ("operator/", "controlplane.dashboard.urls"),
    ("", "tenants.api.urls"),
    ("", "tenants.console.urls"),
    ("", "tenants.signup.urls"),
):
    parent = urls.rpartition(".")[0]
    if find_spec(parent) and find_spec(urls):
        urlpatterns.append(path(prefix, include(urls)))
