"""The store of shops' data, as installers make it. A host that joins and `runtime store` share the code."""

from collections.abc import Callable
from pathlib import Path

from installer.progress import InstallError
from runtime.disk import loop
from runtime.disk.provide import provide
from runtime.errors import HostError


def ensure(
    state: Path, size: int | None, *, of: str, remedy: str, note: Callable[[str], None]
) -> None:
    """Make it where one is needed, and mount it. Idempotent. of: whose it is."""
    try:
        provide(state, size, note=note)
    except HostError as error:
        raise InstallError(f"the store {of} is not there", error.message, remedy) from error


def release(state: Path) -> None:
    """Unmount it, and free its loop device; the file stays."""
    try:
        loop.release(state)
    except HostError as error:
        raise InstallError(error.message) from error


def size_option(state: Path) -> dict[str, str]:
    """Return the option by which bootstrap writes a host's disk; none for a store on the machine's disk."""
    found = loop.current(state)
    return {"--host-disk-bytes": str(found.total_bytes)} if found.is_loop else {}
