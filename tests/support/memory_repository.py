"""A repository in the memory of the process: fast, and away when a test says so.

Hosts that are in memory too (fake_volumes) put and get by its addresses, which begin with SCHEME.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import TransferFailedError
from tenants.snapshots.repositories.protocol import MOST_BYTES, RepositoryError, StoredObject

SCHEME = "https://memory.invalid/"


@dataclass
class Held:
    """What every MemoryRepository of this process holds."""

    objects: dict[str, bytes] = field(default_factory=dict)
    is_away: bool = False


HELD = Held()


class MemoryRepository:
    """Implements Repository. STOA_REPOSITORY_CLASS names it; where it is makes no difference."""

    def __init__(self, where: str) -> None:
        self._held = HELD

    def put_address(self, key: str, *, most: int = MOST_BYTES) -> str:
        """See Repository. An address is signed, whether the repository is there or away."""
        return SCHEME + key

    def get_address(self, key: str) -> str:
        """See Repository. An address is signed, whether the repository is there or away."""
        return SCHEME + key

    def read_back(self, key: str, *, most: int = MOST_BYTES) -> StoredObject | None:
        """See Repository."""
        self._check()
        content = self._held.objects.get(key)
        if content is None:
            return None
        return StoredObject(len(content), hashlib.sha256(content).hexdigest())

    def remove(self, keys: Collection[str]) -> None:
        """See Repository."""
        self._check()
        for key in keys:
            self._held.objects.pop(key, None)

    def keep_file(self, name: str, path: Path) -> None:
        """See Repository."""
        self._check()
        self._held.objects[f"control/{name}"] = path.read_bytes()

    def _check(self) -> None:
        if self._held.is_away:
            raise RepositoryError("the repository is away")


def put(address: str, content: bytes) -> None:
    """What a host does with a put_address."""
    if HELD.is_away:
        raise TransferFailedError("the depot answers 503: the repository is away")
    HELD.objects[address.removeprefix(SCHEME)] = content


def get(address: str) -> bytes:
    """What a host does with a get_address."""
    key = address.removeprefix(SCHEME)
    if HELD.is_away:
        raise TransferFailedError("the depot answers 503: the repository is away")
    if key not in HELD.objects:
        raise TransferFailedError(f"{key} cannot be fetched")
    return HELD.objects[key]
