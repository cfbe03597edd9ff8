"""The addresses of the sign-up pages."""

from django.urls import path

from tenants.web.signup import operation_views, views

app_name = "signup"
urlpatterns = [
    path("", views.landing, name="landing"),
    path("signup/", views.sign_up, name="sign_up"),
    path("signup/availability/", views.availability, name="availability"),
    path("operations/<str:public_id>/", operation_views.show, name="operation"),
    path("operations/<str:public_id>/steps/", operation_views.steps, name="steps"),
    path("operations/<str:public_id>/retry/", operation_views.retry, name="retry"),
    path("operations/<str:public_id>/cancel/", operation_views.cancel, name="cancel"),
]
