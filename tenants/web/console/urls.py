"""The addresses of the merchant's pages."""

from django.urls import path

from tenants.web.console import login_views, views

app_name = "console"
urlpatterns = [
    path("login/", login_views.log_in, name="login"),
    path("logout/", login_views.log_out, name="logout"),
    path("shops/", views.my_shops, name="shops"),
    path("shops/<str:slug>/", views.shop, name="shop"),
    path("shops/<str:slug>/first-login/", views.first_login, name="first_login"),
    path("shops/<str:slug>/snapshots/", views.take_snapshot, name="take_snapshot"),
    path("shops/<str:slug>/snapshots/accept/", views.accept_snapshots, name="accept_snapshots"),
    path("shops/<str:slug>/restore/<str:snapshot_id>/", views.restore, name="restore"),
    path("shops/<str:slug>/data/", views.missing_data, name="data"),
    path("shops/<str:slug>/remove/", views.remove, name="remove"),
]
