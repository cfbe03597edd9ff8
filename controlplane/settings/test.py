"""Settings of the tests: tests/conftest.py has started a PostgreSQL and a Redis of their own."""

from controlplane.settings.base import *  # noqa: F403

# Argon2 is slow by design, and tests make many members.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
