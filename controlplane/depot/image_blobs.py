"""The control plane's own images, as OCI layouts by digest, for hosts to fetch
(tenants/api/internal/views.py).

$STOA_IMAGES/<hex of the manifest's digest>/blobs/sha256/…
"""

import os
import shutil
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

from runtime.errors import SpecInvalidError
from runtime.image.layout import blobs_of, manifest_digest, open_image

# What was put there so lately may be about to become a release.
YOUNG_SECONDS = 3600.0


def put(shelf: Path, layout: Path, name: str = "") -> str:
    """Take the image of an OCI layout directory onto the shelf and return its digest; safe to repeat.

    Every blob is verified first. name chooses where the layout holds several (SpecInvalidError).
    """
    if not layout.is_dir():
        raise SpecInvalidError(f"{layout} is no OCI layout directory", field="layout")
    digest = manifest_digest(layout, name)
    target = shelf / digest.removeprefix("sha256:")
    if target.is_dir():
        os.utime(target)
        return digest
    open_image(layout, digest)
    manifest = (layout / "blobs/sha256" / target.name).read_bytes()
    shelf.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=shelf) as new:
        blobs = Path(new) / "image" / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for blob in (digest, *(blob for blob, _size in blobs_of(manifest))):
            file = blob.removeprefix("sha256:")
            shutil.copyfile(layout / "blobs/sha256" / file, blobs / file)
        (Path(new) / "image").rename(target)
    return digest


def has(shelf: Path, digest: str) -> bool:
    """Return whether an image is on the shelf."""
    return (shelf / digest.removeprefix("sha256:")).is_dir()


def tidy(shelf: Path, keep: Collection[str]) -> int:
    """Remove images that no release needs any more, and what a killed `put` left; gives how many."""
    kept = {digest.removeprefix("sha256:") for digest in keep}
    gone = 0
    for place in shelf.iterdir() if shelf.is_dir() else ():
        if place.name not in kept and time.time() - place.stat().st_mtime > YOUNG_SECONDS:
            shutil.rmtree(place)
            gone += 1
    return gone
