"""Whom a joining machine talks to: the token names the pool's CA, and nothing is sent before it was seen.

1. Over a connection that trusts nobody, ask for the CA's certificate. That request carries no secret.
2. Compare its SHA-256 with the one in the token. Another one: end here.
3. Everything else goes over connections that believe this CA and no other.
"""

import hashlib
import http.client
import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from controlplane.joining.errors import RefusedError, TokenTextError, TrustError, UnreachableError
from runtime.wire import parsed

SECONDS = 15.0
MOST_SKEW_SECONDS = 300
_MOST_BYTES = 1 << 20
_TOKEN = re.compile(r"J1\.([0-9a-f]{64})\.([0-9a-z]{12})\.([0-9a-z]{38})")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_NOT_YET_VALID, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64


@dataclass(frozen=True, slots=True)
class JoinTokenText:
    """A join token taken apart; the secret is not shown by accident."""

    ca_sha256: str
    key_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TrustedDepot:
    """The control plane as this machine reaches it, and the CA that its token names."""

    url: str
    ca_pem: str

    @property
    def host(self) -> str:
        """The name or address it is reached by."""
        return urlsplit(self.url).hostname or ""

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, token: str = ""
    ) -> dict[str, Any]:
        """Send one request below /internal/v1/, over TLS by the CA. Raises JoiningError."""
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        context = believing(self.ca_pem)
        status, _, text = _request(self.url, f"/internal/v1/{path}", context, method, headers, body)
        return _answer(status, text, self.url)


def parse(text: str) -> JoinTokenText:
    """Return the token in a text; TokenTextError says what is wrong with it, without repeating it."""
    found = _TOKEN.fullmatch(text.strip())
    if found is None:
        raise TokenTextError(
            "this is no join token: it must look like J1.<64 digits>.<12 signs>.<38 signs>;"
            " copy all of what `stoa host token create` printed"
        )
    return JoinTokenText(found[1], found[2], found[3])


def meet(url: str, ca_sha256: str) -> TrustedDepot:
    """Find the control plane whose CA has this SHA-256 at the address. Sends nothing but the question.

    Raises TrustError, also when the two clocks are too far apart for certificates to mean anything.
    """
    address = check_url(url)
    status, date, text = _request(address, "/internal/v1/ca", _trusting_nobody(), "GET", {}, None)
    found = _PEM.search(text.decode("ascii", "replace"))
    if status != http.client.OK or found is None:
        raise TrustError(
            f"{address} is not a Stoa control plane's depot (it answered {status} to the question for"
            " its CA); give the address that `stoa host token create` printed"
        )
    try:
        der = ssl.PEM_cert_to_DER_cert(found[0])
    except ValueError as error:
        raise TrustError(f"what {address} gives as its CA is broken: {error}") from error
    shown = hashlib.sha256(der).hexdigest()
    if shown != ca_sha256:
        raise TrustError(
            f"{address} is not the control plane this token is for: its CA has the SHA-256"
            f" {shown[:16]}…, the token names {ca_sha256[:16]}…; the token was not sent."
            " Somebody may stand in between, or the token is another Stoa's"
        )
    _check_clock(date, address)
    # Exactly the certificate that was compared, whatever else came with it.
    depot = TrustedDepot(address, ssl.DER_cert_to_PEM_cert(der))
    _request(address, "/internal/v1/ca", believing(depot.ca_pem), "GET", {}, None)
    return depot


def check_url(url: str) -> str:
    """Return the address without a slash at its end; JoiningError when it is not https."""
    place = urlsplit(url)
    if place.scheme != "https" or not place.hostname or place.path.strip("/") or place.query:
        raise TokenTextError(f"the address is {url!r}; it must be https://<address>:<port>")
    return url.rstrip("/")


def believing(ca_pem: str) -> ssl.SSLContext:
    """Believes this CA alone."""
    context = ssl.create_default_context(cadata=ca_pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _trusting_nobody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _request(
    url: str,
    path: str,
    context: ssl.SSLContext,
    method: str,
    headers: Mapping[str, str],
    body: Mapping[str, Any] | None,
) -> tuple[int, str, bytes]:
    place = urlsplit(url)
    connection = http.client.HTTPSConnection(
        place.hostname or "", place.port, timeout=SECONDS, context=context
    )
    try:
        sent = None if body is None else json.dumps(body).encode()
        connection.request(method, path, sent, dict(headers))
        response = connection.getresponse()
        return response.status, response.headers["Date"] or "", response.read(_MOST_BYTES)
    except ssl.SSLCertVerificationError as error:
        raise TrustError(_explained(error, url)) from error
    except ssl.SSLError as error:
        raise TrustError(f"{url} does not speak TLS as it should: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(
            f"{url} does not answer: {error}; is the control plane up, and does a firewall let"
            f" this machine reach port {place.port or 443} there?"
        ) from error
    finally:
        connection.close()


def _explained(error: ssl.SSLCertVerificationError, url: str) -> str:
    place = urlsplit(url).hostname
    meaning = {
        _NOT_YET_VALID: "its certificate is not valid yet; is this machine's clock right?",
        _EXPIRED: "its certificate has run out; run bin/up on the control plane, which renews it"
        " (and look at this machine's clock)",
        _OTHER_NAME: f"its certificate is not for {place}; add {place} to STOA_POOL_NAMES on the"
        " control plane and run bin/up",
        _OTHER_ADDRESS: f"its certificate is not for {place}; set STOA_POOL_ADDRESS or STOA_POOL_NAMES"
        " on the control plane and run bin/up",
    }.get(
        error.verify_code,
        f"its certificate is not signed by the pool's CA ({error.verify_message}); somebody may"
        " stand in between",
    )
    return f"{url}: {meaning}. The token was not sent"


def _check_clock(date: str, url: str) -> None:
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return
    skew = time.time() - theirs
    if abs(skew) > MOST_SKEW_SECONDS:
        raise TrustError(
            f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} that of"
            f" {url}: set it right first, for example with chrony. The token was not sent"
        )


def _answer(status: int, text: bytes, url: str) -> dict[str, Any]:
    try:
        body = parsed(text)
    except ValueError:
        body = {}
    if status == http.client.OK and isinstance(body, dict):
        return body
    detail = str(body.get("detail", "")) if isinstance(body, dict) else ""
    raise RefusedError(detail or f"{url} answered {status}", status=status)
