"""Addresses below /internal/v1/, which agents ask of the program `depot`; the web has none of them."""

from django.urls import path

from tenants.api import internal, internal_snapshots, join_views

urlpatterns = [
    path("ca", internal.ca),
    path("join", join_views.JoinView.as_view()),
    path("hosts/<str:name>", join_views.HostSelfView.as_view()),
    path("hosts/<str:name>/leave", join_views.LeaveView.as_view()),
    path("edges/<str:name>/routes", internal.edge_routes),
    path("images/<str:digest>/manifest", internal.image_manifest),
    path("snapshots/<str:tenant>/<str:snapshot>", internal_snapshots.archive),
    path("images/blobs/<str:digest>", internal.image_blob),
]
