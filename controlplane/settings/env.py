"""Typed readers of the environment that stop a program at its start and name the variable at fault."""

from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from environ import Env

_env = Env()


def text(name: str, default: str | None = None) -> str:
    """The variable as text; without a default it must be set and not empty."""
    value = _env.str(name, default=default)
    if not value and default is None:
        raise ImproperlyConfigured(f"{name} is empty; it must be set")
    return str(value)


def integer(name: str, default: int, *, low: int = 0, high: int = 2**31) -> int:
    """The variable as a whole number from low to high."""
    written = text(name, default=str(default))
    try:
        value = int(written)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise ImproperlyConfigured(
            f"{name} must be a whole number from {low} to {high}, not {written!r}"
        )
    return value


def switch(name: str, *, default: bool) -> bool:
    """The variable as yes or no: 1/0, true/false, yes/no, on/off."""
    written = text(name, default="1" if default else "0").lower()
    if written in {"1", "true", "yes", "on"}:
        return True
    if written in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be 1 or 0, not {written!r}")


def one_of(name: str, default: str, allowed: frozenset[str]) -> str:
    """The variable as one of the allowed words."""
    value = text(name, default=default)
    if value not in allowed:
        raise ImproperlyConfigured(
            f"{name} must be one of {', '.join(sorted(allowed))}, not {value!r}"
        )
    return value


def hostname(name: str, default: str) -> str:
    """The variable as a bare host name: no scheme, no port, no slash."""
    value = text(name, default=default).lower()
    labels = value.split(".")
    well_formed = all(
        label and len(label) <= 63 and label.isascii() and label.replace("-", "").isalnum()
        for label in labels
    )
    if not well_formed or len(value) > 200:
        raise ImproperlyConfigured(
            f"{name} must be a host name without scheme and port, not {value!r}"
        )
    return value


def address(name: str, schemes: tuple[str, ...]) -> str:
    """The variable as an URL of one of the schemes, without a password in it; "" when it is not set."""
    value = text(name, default="")
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        well_formed = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        well_formed = well_formed and parts.password is None and value.isprintable()
    except ValueError:
        well_formed = False
    if not well_formed or " " in value:
        raise ImproperlyConfigured(
            f"{name} must be {schemes[0]}://host[:port]…, without a password in it"
            f" (or {', '.join(schemes[1:])})"
        )
    return value


def choose(name: str, value: str, of: Callable[[str], str]) -> str:
    """What a function makes of a variable's value; its ValueError says what would be right."""
    try:
        return of(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error


def path(name: str, default: Path) -> Path:
    """The variable as an absolute path."""
    value = Path(text(name, default=str(default)))
    if not value.is_absolute():
        raise ImproperlyConfigured(f"{name} must be an absolute path, not {str(value)!r}")
    return value


def networks(name: str) -> tuple[IPv4Network, ...]:
    """The variable as IPv4 networks with commas between; () when it is empty or not set."""
    written = text(name, default="")
    try:
        return tuple(IPv4Network(one.strip()) for one in written.split(",") if one.strip())
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name} must be IPv4 networks with commas between, not {written!r}: {error}"
        ) from error


def ports(name: str, default: str) -> range:
    """The variable as a range of ports, both ends in it: 10000-32767."""
    written = text(name, default=default)
    first, _, last = written.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 65536):
        raise ImproperlyConfigured(f"{name} must be two ports such as {default}, not {written!r}")
    return range(int(first), int(last) + 1)


def database(name: str) -> dict[str, Any]:
    """The variable as one entry of Django's DATABASES; it must be PostgreSQL.

    A unix socket is written postgres://user@/name?host=/directory/of/the/socket.
    """
    written = text(name)
    if not written.startswith(("postgres://", "postgresql://")):
        raise ImproperlyConfigured(f"{name} must start with postgres://")
    entry: dict[str, Any] = dict(_env.db_url_config(written))
    entry["HOST"] = entry.get("OPTIONS", {}).pop("host", entry["HOST"])
    return entry


def secret(directory: Path, filename: str) -> str:
    """The content of one file of the secrets directory, without the newline at its end."""
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
