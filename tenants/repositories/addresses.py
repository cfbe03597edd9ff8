"""Addresses at the depot that open one object, for one method, until a time.

They carry no host: every host asks the depot where it reaches it. The signature is an HMAC by the
control plane's own key, compared in constant time.
"""

import re
import time
from urllib.parse import parse_qs, urlencode

from django.utils.crypto import constant_time_compare, salted_hmac

from tenants.repositories.protocol import ADDRESS_SECONDS

PREFIX = "/internal/v1/snapshots/"
_KEY = re.compile(r"ten_[0-9a-z]{8,26}/snp_[0-9a-z]{8,26}")


def is_key(key: str) -> bool:
    """Whether this can name an object: two public ids, nothing that could be a path."""
    return _KEY.fullmatch(key) is not None


def signed(method: str, key: str, *, seconds: int = ADDRESS_SECONDS) -> str:
    """The address for one method and object."""
    until = int(time.time()) + seconds
    query = urlencode({"until": until, "signature": _signature(method, key, until)})
    return f"{PREFIX}{key}?{query}"


def opens(method: str, key: str, query: str) -> bool:
    """Whether a request's query opens the object now."""
    asked = parse_qs(query)
    until, signature = (asked.get(name, [""])[0] for name in ("until", "signature"))
    if not (until.isascii() and until.isdigit() and len(until) < 12):
        return False
    is_ours = constant_time_compare(signature, _signature(method, key, int(until)))
    return is_ours and time.time() < int(until)


def _signature(method: str, key: str, until: int) -> str:
    told = f"{method} {key} {until}"
    return salted_hmac("stoa.snapshots.address", told, algorithm="sha256").hexdigest()
