"""The addresses of the operator's pages, below /operator/."""

from django.urls import path

from controlplane.dashboard import actions, capacity_views, drain_views, host_actions, views

app_name = "dashboard"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("hosts/<str:name>/", views.host, name="host"),
    path("hosts/<str:name>/cordon/", host_actions.cordon, name="host_cordon"),
    path("hosts/<str:name>/uncordon/", host_actions.uncordon, name="host_uncordon"),
    path("hosts/<str:name>/edit/", host_actions.edit, name="host_edit"),
    path("hosts/<str:name>/remove/", host_actions.remove, name="host_remove"),
    path("hosts/<str:name>/lost/", host_actions.lost, name="host_lost"),
    path("hosts/<str:name>/forget/", host_actions.forget, name="host_forget"),
    path("join-tokens/", host_actions.join_tokens, name="join_tokens"),
    path(
        "join-tokens/<str:key_id>/revoke/", host_actions.revoke_join_token, name="revoke_join_token"
    ),
    path("hosts/<str:name>/drain/", drain_views.drain, name="drain"),
    path("hosts/<str:name>/undrain/", drain_views.undrain, name="undrain"),
    path("room/", capacity_views.room, name="room"),
    path("room/rebalancing/", capacity_views.set_rebalancing, name="set_rebalancing"),
    path("room/plans/<int:pk>/", capacity_views.carry_out, name="carry_out"),
    path("tenants/", views.tenants, name="tenants"),
    path("tenants/<str:public_id>/", views.tenant, name="tenant"),
    path("tenants/<str:public_id>/restore/<str:snapshot_id>/", actions.restore, name="restore"),
    path("tenants/<str:public_id>/data/", actions.missing_data, name="data"),
    path("tenants/<str:public_id>/why/", capacity_views.why, name="why"),
    path("operations/", views.operations, name="operations"),
    path("operations/<str:public_id>/", views.operation, name="operation"),
    path("operations/<str:public_id>/retry/", actions.retry, name="retry"),
    path("operations/<str:public_id>/cancel/", actions.cancel, name="cancel"),
    path("events/", views.events, name="events"),
    path("switches/<str:name>/", actions.switch, name="switch"),
]
