"""Which images of a host are needed: by instances here, or because the control plane said so."""

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from runtime.errors import SpecInvalidError
from runtime.ids import check_digest
from runtime.image.store import ImageStore
from runtime.statuses import ImageStatus
from runtime.system.files import take_place
from runtime.wire import parsed

# An image that somebody asked for so lately may be about to be used.
YOUNG_SECONDS = 3600.0


class ImageRetention:
    """What the control plane last said is to stay, remembered beside the images."""

    def __init__(self, root: Path) -> None:
        self._file = root / "keep.json"

    def remember(self, keep: Iterable[str]) -> None:
        """Remember the digests of retained releases (SpecInvalidError when one is none)."""
        digests = sorted({check_digest(digest) for digest in keep})
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A name of its own: two calls may write at once.
        beside = self._file.with_name(f".keep.{secrets.token_hex(4)}")
        beside.write_text(json.dumps(digests))
        take_place(beside, self._file)

    def digests(self, further: Iterable[str] | None = None) -> frozenset[str]:
        """Return the digests to keep: those that the control plane named, and `further`.

        SpecInvalidError while it has said nothing and further is None.
        """
        given = frozenset(check_digest(digest) for digest in further or ())
        try:
            return given | frozenset(map(check_digest, parsed(self._file.read_text())))
        except (OSError, ValueError, TypeError, SpecInvalidError):  # not there, or damaged
            if further is None:
                raise SpecInvalidError(
                    "the control plane has not yet said which images to keep (it does so every"
                    " hour); name them with --keep DIGEST",
                    field="keep",
                ) from None
            return given

    def collect(
        self,
        store: ImageStore,
        used: Mapping[str, str],
        *,
        further: Iterable[str] | None = None,
        dry_run: bool = False,
    ) -> tuple[ImageStatus, ...]:
        """Remove from the store what nobody needs, and return it; with dry_run only return it.

        used: the image of every instance of this host, by instance. further: see digests.
        """
        return store.collect(
            keep=self.digests(further) | set(used.values()),
            users=used.keys(),
            young_seconds=YOUNG_SECONDS,
            dry_run=dry_run,
        )
