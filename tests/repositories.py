"""The repository of tests whose hosts are in memory: addresses are files, all else is the real thing."""

from pathlib import Path

from tenants.snapshots.repositories.directory import DirectoryRepository
from tenants.snapshots.repositories.protocol import MOST_BYTES, RepositoryError


class FilesRepository(DirectoryRepository):
    """A directory that is read and written without a depot."""

    def put_address(self, key: str, *, most: int = MOST_BYTES) -> str:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.as_uri()

    def get_address(self, key: str) -> str:
        return Path(self._path(key)).as_uri()

    def check_place(self) -> None:
        """Every directory of a test is one, but one that was taken away."""
        if self._top.with_name("away").exists():
            raise RepositoryError(f"{self._top} is away")
