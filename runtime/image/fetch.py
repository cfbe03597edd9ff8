"""Gets images into a host's store from where they are: a registry, or the control plane by digest."""

import os
from pathlib import Path

from runtime.config import ImageAccess
from runtime.errors import HostError, ImageUnavailableError, ImageUnknownError
from runtime.ids import check_digest
from runtime.image.control import ControlImages
from runtime.image.reference import Reference, parse_reference
from runtime.image.registry import Registry, RegistryImage
from runtime.image.store import ImageStore
from runtime.statuses import ImageStatus

DOWNLOADS = 2  # at once from the control plane, which serves many hosts

# Packed and unpacked lie side by side for a while, and unpacked is two to three times as much.
_ROOM_FACTOR = 3


class Fetcher:
    """Fills one store. Safe to use from several threads and processes at once: each image is got once."""

    def __init__(self, store: ImageStore, access: ImageAccess) -> None:
        self._store = store
        self._access = access
        self._registry = Registry(access)

    def ensure(self, digest: str, source: str = "") -> ImageStatus:
        """Have the image; source: a reference, or "" for the control plane.

        Raises ImageUnknownError when nobody has it, ImageUnavailableError when its source does not give it,
        SpecInvalidError for an image that is refused, HostError when this host has no room.
        """
        if not self._store.has(check_digest(digest)):
            if source:
                self._from_registry(parse_reference(source), digest)
            else:
                self._from_control(digest)
        return self._store.status(digest)

    def pull(self, reference: Reference, name: str = "") -> Reference:
        """Get what a reference means now and return it pinned to the digest it has got.

        name: what people call it, the reference itself when it is "".
        """
        found = self._registry.resolve(reference)
        name = name or str(reference).partition("@")[0]
        self._add(found, name)
        self._store.rename(found.digest, name)
        return found.reference

    def _from_registry(self, reference: Reference, digest: str) -> None:
        found = self._registry.resolve(reference.pinned(digest))
        if found.digest != digest:
            raise ImageUnavailableError(
                f"{digest} is a list of images at {reference.registry}; the one for this machine is"
                f" {found.digest}: name that"
            )
        self._add(found, str(reference).partition("@")[0])

    def _add(self, found: RegistryImage, name: str) -> None:
        def fill(layout: Path) -> None:
            check_room(layout, found.packed_bytes)
            self._registry.copy(found, layout)

        self._store.add(found.digest, name, fill)

    def _from_control(self, digest: str) -> None:
        access = self._access
        if not access.control_url or access.token_file is None:
            raise ImageUnknownError(
                f"this host does not hold image {digest} and does not know its source;"
                " import it with: python -m runtime import-image LAYOUT --name NAME",
                digest=digest,
            )
        control = ControlImages(access.control_url, access.token_file, access.control_ca)

        def fill(layout: Path) -> None:
            with self._store.turn(DOWNLOADS):
                control.copy(digest, layout, check_room=lambda size: check_room(layout, size))

        self._store.add(digest, digest.removeprefix("sha256:")[:12], fill)


def check_room(place: Path, packed_bytes: int) -> None:
    """Refuse early what cannot fit, before anything is written (HostError)."""
    disk = os.statvfs(place)
    free, needed = disk.f_bavail * disk.f_frsize, packed_bytes * _ROOM_FACTOR
    if needed > free:
        raise HostError(
            f"no room on this host's disk: the image needs about {needed >> 20} MiB,"
            f" {free >> 20} MiB are free; remove others with: python -m runtime image-gc"
        )
