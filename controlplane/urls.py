"""What answers at which path of the console host. /events/ is served apart (controlplane/asgi.py)."""

from django.urls import include, path

from controlplane.monitoring import health_views, metrics

urlpatterns = [
    path("livez", health_views.livez),
    path("readyz", health_views.readyz),
    path("metrics", metrics.MetricsView.as_view()),
    path("i18n/", include("django.conf.urls.i18n")),
    path("operator/", include("controlplane.dashboard.urls")),
    path("", include("tenants.api.urls")),
    path("", include("tenants.web.console.urls")),
    path("", include("tenants.web.signup.urls")),
]

# A database that is away, locked or full: come again soon, instead of "something did not work".
handler500 = "controlplane.monitoring.health_views.broken"
