"""A connection from an agent to the control plane's depot: TLS by the pool's own CA, and by no other."""

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from runtime.errors import HostError


def connect(
    url: str, ca_file: Path | None, *, timeout_seconds: float
) -> http.client.HTTPConnection:
    """Return a connection, not opened yet. Proxy settings of the environment do not count.

    ca_file: the pool's CA, which must have signed the certificate of an https address (STOA_CONTROL_CA);
    None for the system's. timeout_seconds bounds each wait. HostError when a setting is wrong.
    """
    place = urlsplit(url)
    if place.scheme not in {"http", "https"} or not place.hostname:
        raise HostError(f"STOA_CONTROL_URL is {url!r}; it must be http(s)://<address>[:<port>]")
    if place.scheme == "http":
        return http.client.HTTPConnection(place.hostname, place.port, timeout=timeout_seconds)
    return http.client.HTTPSConnection(
        place.hostname, place.port, timeout=timeout_seconds, context=tls(ca_file)
    )


def tls(ca_file: Path | None) -> ssl.SSLContext:
    """Believes this CA alone, read each time, so that it can be exchanged without a restart."""
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise HostError(f"STOA_CONTROL_CA: {ca_file} cannot be read: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
