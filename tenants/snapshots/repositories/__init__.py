"""Where archives of tenants' data are kept: a directory, or a store that speaks S3.

Hosts hold no credential of it. They are given addresses that open one object, for one method, for a
while; what they put there is read back here before it counts as kept.
"""

from functools import lru_cache

from django.conf import settings
from django.utils.module_loading import import_string

from tenants.snapshots.repositories.protocol import Repository, RepositoryError, StoredObject

__all__ = ["Repository", "RepositoryError", "StoredObject", "current"]


def current() -> Repository:
    """Return the repository of this control plane (STOA_SNAPSHOTS)."""
    return _made(settings.STOA_SNAPSHOTS, settings.STOA_REPOSITORY_CLASS)


@lru_cache(maxsize=4)
def _made(where: str, kind: str) -> Repository:
    repository: Repository = import_string(kind)(where)
    return repository
