"""Fetching images from the control plane, by digest, for hosts that need no registry.

GET /internal/v1/images/<digest>/manifest and /internal/v1/images/blobs/<digest>, with the host's token.
"""

import hashlib
import http.client
import random
import time
from collections.abc import Callable
from pathlib import Path

from runtime.control_link import connect
from runtime.errors import HostError, ImageUnavailableError, ImageUnknownError, SpecInvalidError
from runtime.image.layout import blobs_of

TRIES = 4
BUSY_TRIES = 60
BUSY_PAUSE_SECONDS = 2.0
WAIT_SECONDS = 30.0  # for the next piece
MANIFEST_LIMIT = 4 * 1024 * 1024
_BLOB_LIMIT = 8 * 1024**3
FIRST_PAUSE_SECONDS = 0.5  # before the second try; each later one doubles it
_PIECE = 1 << 18


class ControlImages:
    """The control plane's images, as the host of this token may have them."""

    def __init__(self, url: str, token_file: Path, ca_file: Path | None = None) -> None:
        self._url = url
        self._token_file = token_file
        self._ca_file = ca_file

    def copy(self, digest: str, layout: Path, *, check_room: Callable[[int], None]) -> None:
        """Fetch an image into the empty directory `layout`, as an OCI layout without index.

        check_room: called with the number of bytes before they come. Raises ImageUnknownError when the
        control plane has no such image, ImageUnavailableError when it does not give it, also after some
        tries.
        """
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        self._fetch(f"{digest}/manifest", digest, blobs, MANIFEST_LIMIT)
        needed = blobs_of((blobs / _hex(digest)).read_bytes())
        check_room(sum(size for _, size in needed))
        for blob, size in needed:
            if not blob.startswith("sha256:") or len(blob) != 71 or size > _BLOB_LIMIT:
                raise SpecInvalidError(
                    f"image {digest} names the blob {blob[:80]!r} of {size} bytes", field="image"
                )
            self._fetch(f"blobs/{blob}", blob, blobs, size)

    def _fetch(self, path: str, digest: str, blobs: Path, most: int) -> None:
        number = busy = 0
        while True:
            try:
                return self._try(path, digest, blobs / _hex(digest), most)
            except ImageUnavailableError as error:
                # "Come again" is no failure: many hosts ask at once when there is a new release.
                is_busy = bool(error.details.get("is_busy"))
                busy, number = busy + is_busy, number + (not is_busy)
                if number >= TRIES or busy >= BUSY_TRIES or not error.details.get("again"):
                    raise
            # Each host at its own moment, so that many do not ask at once.
            pause = BUSY_PAUSE_SECONDS if is_busy else FIRST_PAUSE_SECONDS * 2 ** (number - 1)
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret

    def _try(self, path: str, digest: str, target: Path, most: int) -> None:
        connection = connect(self._url, self._ca_file, timeout_seconds=WAIT_SECONDS)
        try:
            connection.request(
                "GET",
                f"/internal/v1/images/{path}",
                headers={"Authorization": f"Bearer {self._token()}", "Connection": "close"},
            )
            response = connection.getresponse()
            self._check_status(response, digest)
            _keep(response, target, digest, most)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # of the file, not of the network
            raise ImageUnavailableError(
                f"{self._url} does not give {digest}: {error}", again=True
            ) from error
        finally:
            connection.close()

    def _check_status(self, response: http.client.HTTPResponse, digest: str) -> None:
        status = response.status
        if status == http.client.OK:
            return
        if status == http.client.NOT_FOUND:
            raise ImageUnknownError(f"the control plane has no {digest}", digest=digest)
        hint = ""
        if status in {401, 403}:
            hint = "; is the token in STOA_AGENT_TOKEN_FILE this host's?"
        raise ImageUnavailableError(
            f"{self._url} answered {status} for {digest}{hint}",
            again=status >= 500,
            is_busy=response.headers["Retry-After"] is not None,
        )

    def _token(self) -> str:
        try:
            # Read each time, so that a token can be exchanged without a restart.
            return self._token_file.read_text().strip()
        except OSError as error:
            raise HostError(f"STOA_AGENT_TOKEN_FILE cannot be read: {error}") from error


def _keep(response: http.client.HTTPResponse, target: Path, digest: str, most: int) -> None:
    """Write the body to a file and compare it with the digest; more than `most` bytes are not read."""
    found, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        while piece := response.read(_PIECE):
            size += len(piece)
            if size > most:
                break
            found.update(piece)
            try:
                file.write(piece)
            except OSError as error:
                raise HostError(f"no room on this host's disk for {digest}: {error}") from error
    if f"sha256:{found.hexdigest()}" != digest:
        raise ImageUnavailableError(
            f"what the control plane sent for {digest} is something else", again=True
        )


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
