"""What is asked of a repository. Keys are `<tenant id>/<snapshot id>`."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tenants.errors import TenantsError

ADDRESS_SECONDS = 3600
OWN = "control"  # where files of the control plane's own lie; no tenant's id is so short
# Of one archive, where nobody knows better.
MOST_BYTES = 1 << 40


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What lies under a key, as it was read back just now."""

    size: int
    sha256: str


class RepositoryError(TenantsError):
    """The repository cannot be reached, or does not do what it is asked.

    That says nothing of what it holds: who meets it waits, and passes no copy over (SnapshotLostError).
    """

    code = "repository_away"
    status = 503


class Repository(Protocol):
    """Archives by key. Everything may be repeated."""

    def put_address(self, key: str, *, most: int = MOST_BYTES) -> str:
        """Return where a host may PUT the object, of so many bytes, and nothing else, for ADDRESS_SECONDS."""
        ...

    def get_address(self, key: str) -> str:
        """Return where a host may GET the object, and nothing else, for ADDRESS_SECONDS."""
        ...

    def read_back(self, key: str, *, most: int = MOST_BYTES) -> StoredObject | None:
        """Read the whole object; None when there is none. RepositoryError when it cannot be read.

        One of more than `most` bytes is not read: its Found says how large it is, and no more.
        """
        ...

    def keep_file(self, name: str, path: Path) -> None:
        """Keep a file of the control plane's own, whole or not at all, apart from tenants' archives."""
        ...

    def remove(self, keys: Collection[str]) -> None:
        """Delete objects; ignores those that do not exist."""
        ...
