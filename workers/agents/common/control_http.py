"""Fetches an edge's whole route table from the control plane: too large for a message."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.control_link import connect
from runtime.edge.edge import FullTable
from runtime.edge.routes import EdgeRoute
from runtime.errors import HostError, HostUnreachableError
from runtime.wire import parsed
from settings import inner

MOST_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where the control plane answers, whose certificate it must have, and which file holds our token."""

    url: str
    token_file: Path
    edge_name: str
    ca_file: Path | None = None

    def route_table(self, *, timeout_seconds: float) -> FullTable:
        """Return the whole table; HostUnreachableError when nobody answers, HostError for any other answer.

        timeout_seconds bounds each wait for the network. Proxy settings of the environment do not count.
        """
        path = f"/internal/v1/edges/{self.edge_name}/routes"
        return parse(self._get(path, timeout_seconds=timeout_seconds))

    def _get(self, path: str, *, timeout_seconds: float) -> bytes:
        try:
            # Read each time, so that a token can be exchanged without a restart.
            token = self.token_file.read_text().strip()
        except OSError as error:
            raise HostError(f"STOA_AGENT_TOKEN_FILE cannot be read: {error}") from error
        connection = connect(self.url, self.ca_file, timeout_seconds=timeout_seconds)
        try:
            connection.request(
                "GET", path, headers={"Authorization": f"Bearer {token}", "Connection": "close"}
            )
            response = connection.getresponse()
            body = response.read(MOST_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise HostUnreachableError(f"{self.url} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            hint = (
                "; is the token in STOA_AGENT_TOKEN_FILE this edge's?"
                if response.status in (401, 403)
                else ""
            )
            raise HostError(f"{self.url}{path} answered {response.status}{hint}")
        if len(body) > MOST_BYTES:
            raise HostError(f"{self.url}{path} sent more than {MOST_BYTES} bytes")
        return body


def control_plane(environ: Mapping[str, str], *, edge_name: str) -> ControlPlane:
    """Read STOA_CONTROL_URL, STOA_CONTROL_CA and STOA_AGENT_TOKEN_FILE."""
    token_file = inner.AGENT_TOKEN_FILE.of(environ)
    if token_file is None:
        raise SystemExit(f"{inner.AGENT_TOKEN_FILE.name} is not set; it must be the path of a file")
    return ControlPlane(
        url=(inner.CONTROL_URL.of(environ) or inner.depot_here(environ)).rstrip("/"),
        token_file=token_file,
        edge_name=edge_name,
        ca_file=inner.CONTROL_CA.of(environ),
    )


def parse(body: bytes) -> FullTable:
    """Return the table in a response's body; HostError when it does not have the agreed shape."""
    try:
        data = parsed(body)
        return FullTable(
            sequence=_whole(data["sequence"]),
            digest=str(data["digest"]),
            routes=tuple(
                EdgeRoute(str(hostname), str(value), _whole(version))
                for hostname, value, version in data["routes"]
            ),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise HostError(
            f"the route table cannot be read: {type(error).__name__}: {error}"
        ) from error


def _whole(number: object) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"{number!r} is not a whole number of 0 or more")
    return number
