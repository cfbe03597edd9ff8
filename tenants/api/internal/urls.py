"""Addresses below /internal/v1/, which agents ask of the program `depot`; the web has none of them."""

from django.urls import path

from tenants.api.internal import joins, snapshots, views

urlpatterns = [
    path("ca", views.ca),
    path("join", joins.JoinView.as_view()),
    path("hosts/<str:name>", joins.HostSelfView.as_view()),
    path("hosts/<str:name>/leave", joins.LeaveView.as_view()),
    path("edges/<str:name>/routes", views.edge_routes),
    path("images/<str:digest>/manifest", views.image_manifest),
    path("snapshots/<str:tenant>/<str:snapshot>", snapshots.archive),
    path("images/blobs/<str:digest>", views.image_blob),
]
