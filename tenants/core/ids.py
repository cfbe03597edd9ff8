"""Public ids: a prefix that says what it names, and 80 random bits in 0-9a-z."""

import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # no i, l, o, u: read aloud without doubt


def _random(prefix: str) -> str:
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(16))


def tenant_id() -> str:
    """Return a new tenant's public id."""
    return _random("ten_")


def instance_id() -> str:
    """Return a new instance's public id; also its name on hosts (runtime/ids.py)."""
    return _random("ins_")


def operation_id() -> str:
    """Return a new operation's public id."""
    return _random("op_")


def snapshot_id() -> str:
    """Return a new snapshot's public id; also its name on hosts (runtime/ids.py)."""
    return _random("snp_")
