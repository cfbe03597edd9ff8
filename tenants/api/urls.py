"""Addresses of the API and of its description."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from tenants.api import documentation_views
from tenants.api.base import NotFoundView
from tenants.api.v1 import (
    alarm_views,
    drain_views,
    missing_views,
    outlook_views,
    pool_views,
    snapshot_views,
    tenant_views,
)


class SlugConverter(StringConverter):
    """A tenant's slug."""

    regex = "[a-z0-9-]{1,40}"


class HostNameConverter(StringConverter):
    """A host's name."""

    regex = "[a-z0-9-]{1,32}"


class PublicIdConverter(StringConverter):
    """A public id such as op_4x…."""

    regex = "[a-z0-9_]{1,24}"


register_converter(SlugConverter, "tenant_slug")
register_converter(HostNameConverter, "host_name")
register_converter(PublicIdConverter, "public_id")

_V1 = "api/v1/"

urlpatterns = [
    path(f"{_V1}tenants", tenant_views.TenantsView.as_view()),
    path(f"{_V1}tenants/<tenant_slug:slug>", tenant_views.TenantView.as_view()),
    path(f"{_V1}tenants/<tenant_slug:slug>/first-login", tenant_views.FirstLoginView.as_view()),
    path(f"{_V1}tenants/<tenant_slug:slug>/events", tenant_views.EventsView.as_view()),
    path(f"{_V1}tenants/<tenant_slug:slug>/snapshots", snapshot_views.SnapshotsView.as_view()),
    path(f"{_V1}tenants/<tenant_slug:slug>/snapshots/accept", snapshot_views.AcceptView.as_view()),
    path(f"{_V1}tenants/<tenant_slug:slug>/restore", snapshot_views.RestoreView.as_view()),
    path(f"{_V1}tenants/<tenant_slug:slug>/data", missing_views.DataView.as_view()),
    path(f"{_V1}tenants/<tenant_slug:slug>/move", drain_views.MoveView.as_view()),
    path(f"{_V1}operations/<public_id:public_id>", tenant_views.OperationView.as_view()),
    path(f"{_V1}operations/<public_id:public_id>/retry", tenant_views.RetryView.as_view()),
    path(f"{_V1}operations/<public_id:public_id>/cancel", tenant_views.CancelView.as_view()),
    path(f"{_V1}plans", tenant_views.PlansView.as_view()),
    path(f"{_V1}alarms", alarm_views.AlarmsView.as_view()),
    path(f"{_V1}alarms/test", alarm_views.AlarmTestView.as_view()),
    path(f"{_V1}hosts", pool_views.HostsView.as_view()),
    path(f"{_V1}hosts/<host_name:name>", pool_views.HostDetailView.as_view()),
    path(f"{_V1}hosts/<host_name:name>/cordon", pool_views.CordonView.as_view()),
    path(f"{_V1}hosts/<host_name:name>/uncordon", pool_views.UncordonView.as_view()),
    path(f"{_V1}hosts/<host_name:name>/lost", pool_views.LostView.as_view()),
    path(f"{_V1}hosts/<host_name:name>/forget", pool_views.ForgetView.as_view()),
    path(f"{_V1}hosts/<host_name:name>/drain", drain_views.DrainView.as_view()),
    path(f"{_V1}pool/forecast", outlook_views.ForecastView.as_view()),
    path(f"{_V1}tenants/<tenant_slug:slug>/decisions", outlook_views.DecisionsView.as_view()),
    path(f"{_V1}host-tokens", pool_views.JoinTokensView.as_view()),
    path(f"{_V1}host-tokens/<public_id:key_id>", pool_views.JoinTokenView.as_view()),
    path("api/schema/", documentation_views.SchemaView.as_view(), name="api-schema"),
    path("api/docs/", documentation_views.DocsView.as_view(), name="api-docs"),
    path("api/", NotFoundView.as_view()),
    path("api/<path:rest>", NotFoundView.as_view()),
]
