"""Addresses at the depot that open one object, for one method, until a time, and for so many bytes.

They carry no host: every host asks the depot where it reaches it. The signature is an HMAC by the
control plane's own key, compared in constant time.
"""

import re
import time
from urllib.parse import parse_qs, urlencode

from django.utils.crypto import constant_time_compare, salted_hmac

from tenants.snapshots.repositories.protocol import ADDRESS_SECONDS, MOST_BYTES

PREFIX = "/internal/v1/snapshots/"
_NUMBER = re.compile(r"[0-9]{1,15}")
_KEY = re.compile(r"ten_[0-9a-z]{8,26}/snp_[0-9a-z]{8,26}")


def is_key(key: str) -> bool:
    """Return whether this can name an object: two public ids, nothing that could be a path."""
    return _KEY.fullmatch(key) is not None


def signed(method: str, key: str, *, seconds: int = ADDRESS_SECONDS, most: int = MOST_BYTES) -> str:
    """Return the address for one method and object; most: the bytes that may be put there."""
    until = int(time.time()) + seconds
    query = urlencode(
        {"until": until, "max": most, "signature": _signature(method, key, until, most)}
    )
    return f"{PREFIX}{key}?{query}"


def opens(method: str, key: str, query: str) -> int:
    """Return the bytes for which a request's query opens the object now; 0 when it does not."""
    asked = parse_qs(query)
    until, most, signature = (asked.get(name, [""])[0] for name in ("until", "max", "signature"))
    if not (_NUMBER.fullmatch(until) and _NUMBER.fullmatch(most) and signature.isascii()):
        return 0
    right = _signature(method, key, int(until), int(most))
    is_ours = constant_time_compare(signature, right)
    return int(most) if is_ours and time.time() < int(until) else 0


def _signature(method: str, key: str, until: int, most: int) -> str:
    text = f"{method} {key} {until} {most}"
    return salted_hmac("stoa.snapshots.address", text, algorithm="sha256").hexdigest()
