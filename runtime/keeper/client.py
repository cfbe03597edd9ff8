"""How the agent and the command line talk to the keeper."""

import json
import select
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from runtime.errors import HostError, HostUnreachableError, RuntimeCoreError, by_code

QUICK_SECONDS = 10.0


class KeeperCall:
    """One connection: a request sent, its answer and perhaps later news to be read."""

    def __init__(self, path: Path, request: dict[str, object]) -> None:
        self._path = path
        self._received = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(QUICK_SECONDS)
        try:
            self._socket.connect(str(path))
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            self._socket.close()
            raise _not_running(path, error) from error

    def __enter__(self) -> "KeeperCall":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def next(self, timeout: float) -> dict[str, Any] | None:
        """Return the next line, or None when none came within timeout seconds; an error line is raised."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._received:
            # poll and not select: the agent may hold more than 1,024 descriptors.
            waiting = select.poll()
            waiting.register(self._socket, select.POLLIN)
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            self._received += self._piece()
        line, _, self._received = self._received.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        if not message["ok"]:
            raise by_code().get(message["code"], HostError)(message["message"])
        return message

    def _piece(self) -> bytes:
        try:
            piece = self._socket.recv(256 * 1024)
        except OSError:
            piece = b""
        if not piece:
            raise HostError("the keeper ended in the middle of a call; repeat it")
        return piece


class KeeperClient:
    """The keeper of one host, by its socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def call(self, op: str, **arguments: object) -> KeeperCall:
        """Send a request; the caller reads what comes back. HostUnreachableError when nobody listens."""
        return KeeperCall(self._path, {"op": op, **arguments})

    def ask(
        self, op: str, *, timeout: float = QUICK_SECONDS, **arguments: object
    ) -> dict[str, Any]:
        """Send a request and return its answer; HostError when none comes within timeout seconds."""
        with self.call(op, **arguments) as call:
            answer = call.next(timeout)
        if answer is None:
            raise HostError(f"the keeper did not answer {op} within {timeout:g} s")
        return answer

    def status(self, instance_id: str | None = None) -> dict[str, dict[str, Any]]:
        """Return what the keeper shows of one or all instances, by id."""
        answer = self.ask("status", id=instance_id)
        return {shown["instance_id"]: shown for shown in answer["instances"]}


def _not_running(path: Path, error: OSError) -> RuntimeCoreError:
    return HostUnreachableError(
        f"no keeper answers on {path} ({error.strerror or error}); start it with `bin/up` or"
        " `python -m runtime.keeper` under the same STOA_HOST_STATE"
    )
