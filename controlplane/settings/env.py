"""How Django reads settings and secrets: what is wrong stops the program at its start, and is named."""

import os
from pathlib import Path
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from environ import Env

from settings.setting import Setting, SettingError

T = TypeVar("T")

_env = Env()


def given(setting: Setting[T]) -> T:
    """Return the setting's value; ImproperlyConfigured names what is wrong with it."""
    try:
        return setting.of(os.environ)
    except SettingError as error:
        raise ImproperlyConfigured(str(error)) from error


def database(name: str) -> dict[str, Any]:
    """Return the variable as one entry of Django's DATABASES; it must be PostgreSQL.

    A unix socket is written postgres://user@/name?host=/directory/of/the/socket.
    """
    written = os.environ.get(name, "")
    if not written.startswith(("postgres://", "postgresql://")):
        raise ImproperlyConfigured(f"{name} is not as it must be; it must start with postgres://")
    entry: dict[str, Any] = dict(_env.db_url_config(written))
    entry["HOST"] = entry.get("OPTIONS", {}).pop("host", entry["HOST"])
    return entry


def secret(directory: Path, filename: str) -> str:
    """Return the content of one file of the secrets directory, without the newline at its end."""
    file = directory / filename
    try:
        value = file.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"STOA_SECRETS_DIR: cannot read {file} ({error.strerror}); bin/up writes it"
        ) from error
    if not value:
        raise ImproperlyConfigured(f"STOA_SECRETS_DIR: {file} is empty; delete it and run bin/up")
    return value


def secret_if(directory: Path, filename: str, *, wanted: bool) -> str:
    """As secret where it is wanted, else ""."""
    return secret(directory, filename) if wanted else ""
