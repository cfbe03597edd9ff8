"""The repository and its Python files, for every check that reads them."""

from collections.abc import Iterator
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PACKAGES = ("controlplane", "tenants", "workers", "runtime", "installer", "settings")
# With what is run by its path: programs of the machine, and what images are made of.
PRODUCT = (*PACKAGES, "bin", "deploy", "images")


def python(*folders: str) -> Iterator[Path]:
    """All Python files below these folders, each folder's in order."""
    for folder in folders:
        yield from (path for path in sorted((REPO / folder).rglob("*.py")) if path.is_file())


def place(path: Path) -> str:
    """Where a file lies in the repository."""
    return path.relative_to(REPO).as_posix()
