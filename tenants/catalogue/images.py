"""Which images releases need: what hosts may fetch from here, and what they are to keep."""

import json
import re
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.db.models import F, Window
from django.db.models.functions import RowNumber

from tenants.catalogue.models import Release
from tenants.pool.models import Host
from tenants.shops.models import Instance
from tenants.states import InstanceState

# So many of an app's newest releases stay on hosts that have them: a roll-back finds its image there.
KEPT_RELEASES = 3

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def is_hosts_token(token_sha256: str) -> bool:
    """Return whether this is the SHA-256 of some host's token."""
    return Host.objects.filter(token_sha256=token_sha256).exists()


def to_keep() -> list[str]:
    """Return the digests hosts keep although nothing of them may run there, sorted.

    The newest releases of every app, and every release that an instance which is not gone runs.
    """
    numbered = Release.objects.annotate(
        place=Window(RowNumber(), partition_by=F("app"), order_by=F("number").desc())
    )
    newest = numbered.filter(place__lte=KEPT_RELEASES).values_list("image_digest", flat=True)
    living = (
        Instance.objects.exclude(state=InstanceState.RETIRED)
        .values_list("release__image_digest", flat=True)
        .distinct()
    )
    return sorted({*newest, *living})


def manifest_file(digest: str) -> Path | None:
    """Return the manifest of a release's image on our shelf; None when it is not there or no release's."""
    if not _DIGEST.fullmatch(digest) or not Release.objects.filter(image_digest=digest).exists():
        return None
    file = _blob_of(digest, digest)
    return file if file.is_file() else None


def blob_file(digest: str) -> Path | None:
    """Return a blob that the image of some release is made of; None when there is none of that digest."""
    if not _DIGEST.fullmatch(digest):
        return None
    for image in Release.objects.order_by("-pk").values_list("image_digest", flat=True):
        if digest in _blobs_of(image):
            file = _blob_of(image, digest)
            return file if file.is_file() else None
    return None


def _blob_of(image: str, digest: str) -> Path:
    shelf = Path(settings.STOA_IMAGES)
    return shelf / image.removeprefix("sha256:") / "blobs/sha256" / digest.removeprefix("sha256:")


@lru_cache(maxsize=512)
def _known_blobs(manifest: Path) -> frozenset[str]:
    """Return what a manifest names; a manifest is named by its content, so it never changes."""
    try:
        found = json.loads(manifest.read_text())
    except RecursionError:
        raise ValueError(f"{manifest} is nested too deeply") from None
    return frozenset(str(blob["digest"]) for blob in (found["config"], *found["layers"]))


def _blobs_of(image: str) -> frozenset[str]:
    try:
        return _known_blobs(_blob_of(image, image))
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()  # not on the shelf: hosts get it elsewhere
