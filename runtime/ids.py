"""Names that appear in paths, cgroups, queues and interface names, and what makes one valid."""

import re

from runtime.errors import SpecInvalidError

_INSTANCE = re.compile(r"ins_[0-9a-z]{8,26}")
_HOST = re.compile(r"[a-z][a-z0-9-]{0,30}[a-z0-9]|[a-z]")
_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_SNAPSHOT = re.compile(r"snp_[0-9a-z]{8,26}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def check_instance_id(value: str) -> str:
    """Return value when it is an instance id (`ins_` and 8–26 of 0-9a-z), else raise SpecInvalidError."""
    return _check(_INSTANCE, "instance_id", value, "ins_ followed by 8 to 26 of 0-9 and a-z")


def is_instance_id(value: str) -> bool:
    """Return whether value is an instance id."""
    return _INSTANCE.fullmatch(value) is not None


def check_host_name(value: str) -> str:
    """Return value when it can name a host or an edge (no dots: names are parts of broker keys)."""
    return _check(_HOST, "host", value, "1 to 32 of a-z, 0-9 and -, starting with a letter")


def check_slug(value: str) -> str:
    """Return value when it is a tenant's slug, which is also a DNS label."""
    return _check(_SLUG, "tenant", value, "1 to 40 of a-z, 0-9 and -, not at the ends")


def check_snapshot_id(value: str, field: str = "snapshot") -> str:
    """Return value when it is a snapshot's id (`snp_` and 8–26 of 0-9a-z); it names files on hosts."""
    return _check(_SNAPSHOT, field, value, "snp_ followed by 8 to 26 of 0-9 and a-z")


def check_digest(value: str) -> str:
    """Return value when it is a sha256 digest of an image manifest."""
    return _check(_DIGEST, "image_digest", value, "sha256: followed by 64 hexadecimal digits")


def _check(pattern: re.Pattern[str], field: str, value: str, right: str) -> str:
    # fullmatch, not match with $: a trailing newline must not pass into a path.
    if isinstance(value, str) and pattern.fullmatch(value):
        return value
    raise SpecInvalidError(f"{field} is {value!r}; it must be {right}", field=field)
