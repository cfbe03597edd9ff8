"""Carrying archives between this host and wherever they are kept, by addresses that open one object.

An address is a secret for as long as it lasts: it is in no log line and no error here.
"""

import hashlib
import http.client
import random
import re
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from runtime.control_link import connect
from runtime.errors import SpecInvalidError, TransferFailedError
from runtime.wire import parsed

TRIES = 4
WAIT_SECONDS = 30.0  # for the next piece
FIRST_PAUSE_SECONDS = 0.5  # before the second try; each later one doubles it
# What a slow but honest way still gives; below it for a whole archive, the transfer is given up.
_LEAST_BYTES_PER_SECOND = 256 * 1024
_LEAST_SECONDS = 60.0
_PIECE = 1 << 18
_ANSWER_BYTES = 4096
_CODE = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")


@dataclass(frozen=True, slots=True)
class ArchiveClient:
    """control_url: where addresses that begin with / are asked; ca_file alone signs its certificate."""

    control_url: str = ""
    ca_file: Path | None = None

    def put(self, url: str, archive: Path, *, size: int) -> None:
        """PUT a file of that size; TransferFailedError when it is not taken, also after some tries."""
        _try_often(lambda: self._put(url, archive, size))

    def get(self, url: str, target: Path, *, size: int, sha256: str) -> None:
        """GET exactly that content into a file; nothing else is left there. TransferFailedError if not."""
        _try_often(lambda: self._get(url, target, size, sha256))

    def _put(self, url: str, archive: Path, size: int) -> None:
        with archive.open("rb") as content:
            body = _Bounded(content, _deadline(size))
            answer = self._ask("PUT", url, body=body, headers={"Content-Length": str(size)})
            try:
                _check_status(url, answer, good={200, 201, 204})
            finally:
                answer.close()

    def _get(self, url: str, target: Path, size: int, sha256: str) -> None:
        answer = self._ask("GET", url, body=None, headers={})
        try:
            _check_status(url, answer, good={200})
            _keep(answer, target, size, sha256, where=_shown(url))
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # of the file, not of the network
            raise TransferFailedError(f"{_shown(url)}: {error}", again=True) from error
        finally:
            answer.close()

    def _ask(
        self, method: str, url: str, *, body: "_Bounded | None", headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        place = urlsplit(url)
        connection = self._connection(url)
        path = f"{place.path or '/'}{'?' if place.query else ''}{place.query}"
        try:
            connection.request(method, path, body=body, headers={**headers, "Connection": "close"})
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            # Who refuses a body often answers before it has come, and says why.
            with suppress(OSError, http.client.HTTPException):
                if (
                    connection.sock is not None
                    and (answer := connection.getresponse()).status >= 400
                ):
                    return answer
            connection.close()
            # A verdict on the certificate does not change by asking again.
            again = not isinstance(error, ssl.SSLCertVerificationError)
            raise TransferFailedError(f"{_shown(url)}: {error}", again=again) from error

    def _connection(self, url: str) -> http.client.HTTPConnection:
        if url.startswith("/"):
            return connect(self.control_url, self.ca_file, timeout_seconds=WAIT_SECONDS)
        if not url.startswith(("https://", "http://")):
            raise SpecInvalidError("an archive's address must be http(s)://…", field="url")
        return connect(url, None, timeout_seconds=WAIT_SECONDS)


class _Bounded:
    """A file that is sent in pieces, and not for ever."""

    def __init__(self, content: BinaryIO, deadline: float) -> None:
        self._content = content
        self._deadline = deadline

    def read(self, size: int = _PIECE, /) -> bytes:
        if time.monotonic() > self._deadline:
            raise TimeoutError("it took too long to send")
        return self._content.read(size)


def _try_often(attempt: Callable[[], None]) -> None:
    for number in range(TRIES):
        try:
            attempt()
        except TransferFailedError as error:
            if number == TRIES - 1 or not error.details.get("again"):
                raise
            # Each host at its own moment, so that many do not ask at once.
            pause = FIRST_PAUSE_SECONDS * 2**number
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
        else:
            return


def _keep(
    answer: http.client.HTTPResponse, target: Path, size: int, sha256: str, *, where: str
) -> None:
    found, came, deadline = hashlib.sha256(), 0, _deadline(size)
    with target.open("wb") as file:
        while piece := answer.read(_PIECE):
            came += len(piece)
            if came > size:
                break
            if time.monotonic() > deadline:
                raise TransferFailedError(f"{where} sends too slowly", again=True)
            found.update(piece)
            file.write(piece)
    if came != size or found.hexdigest() != sha256:
        target.unlink()
        raise TransferFailedError(
            f"{where} sent something else than the archive of {size} bytes", again=came < size
        )


def _deadline(size: int) -> float:
    return time.monotonic() + max(_LEAST_SECONDS, size / _LEAST_BYTES_PER_SECOND)


def _check_status(url: str, answer: http.client.HTTPResponse, *, good: set[int]) -> None:
    status = answer.status
    if status in good:
        return
    why = _why(answer)
    hint = "; the address may have run out" if status in {401, 403} and not why else ""
    said = f": {why}" if why else ""
    raise TransferFailedError(f"{_shown(url)} answered {status}{said}{hint}", again=status >= 500)


def _why(answer: http.client.HTTPResponse) -> str:
    """Return the reason that the archives' server gives: our depot in JSON, a store in XML; "" for none."""
    try:
        body = answer.read(_ANSWER_BYTES)
    except (OSError, http.client.HTTPException):
        return ""
    if found := _CODE.search(body):
        return found[1].decode()
    try:
        document = parsed(body)
    except ValueError:
        return ""
    detail = document.get("detail") if isinstance(document, dict) else None
    return detail[:200] if isinstance(detail, str) else ""


def _shown(url: str) -> str:
    """Return the part of an address that opens nothing."""
    if url.startswith("/"):
        return "the control plane"
    place = urlsplit(url)
    port = f":{place.port}" if place.port else ""
    return f"{place.scheme}://{place.hostname}{port}"
