"""Talks to one supervisord by its socket.

supervisorctl waits a second for each program it starts, one after another; this asks for all at once.
"""

import http.client
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy, Transport

PATIENCE_SECONDS = 180.0
_STOP_SECONDS = 90.0
_ANSWER_SECONDS = 120.0
_ALREADY_STARTED, _NOT_RUNNING = 60, 70  # supervisor.xmlrpc.Faults
DOWN = frozenset({"STOPPED", "EXITED", "FATAL", "UNKNOWN"})
UP = frozenset({"RUNNING", "STARTING"})


@dataclass(frozen=True, slots=True)
class ProgramState:
    """One program as its supervisor sees it. pid: 0 when it does not run. seconds: how long it has run."""

    name: str
    state: str
    pid: int
    seconds: int


class _UnixConnection(http.client.HTTPConnection):
    """HTTP to the socket that its host name is the path of."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER_SECONDS)
        self.sock.connect(self.host)


class _UnixTransport(Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002 - Transport's
        return _UnixConnection(self._path, 80)


def ask(path: Path, verb: str, names: Sequence[str] = ()) -> list[str]:
    """Have the supervisor at this socket do something; what went wrong, a line each."""
    try:
        server = _server(path)
        if verb == "shutdown":
            server.shutdown()
            return []
        return _VERBS[verb](server, names)
    except (OSError, Fault, http.client.HTTPException) as error:
        return [f"{verb} {' '.join(names)}: {error}"]


def states(path: Path) -> list[ProgramState]:
    """Return every program; [] when the supervisor does not answer."""
    try:
        infos = _server(path).getAllProcessInfo()
    except (OSError, Fault, http.client.HTTPException):
        return []
    return [_state(info) for info in infos]


def _server(path: Path) -> Any:
    return ServerProxy("http://localhost", transport=_UnixTransport(str(path))).supervisor


def _state(info: dict[str, Any]) -> ProgramState:
    seconds = info["now"] - info["start"] if info["pid"] else 0
    return ProgramState(info["name"], info["statename"], info["pid"], seconds)


def _start(server: Any, names: Sequence[str]) -> list[str]:
    """Start without waiting; one that runs already is left alone."""
    return _each(server.startProcess, names, fine=_ALREADY_STARTED)


def _stop(server: Any, names: Sequence[str]) -> list[str]:
    """Ask all to stop, then wait until they have (supervisord kills after stopwaitsecs)."""
    troubles = _each(server.stopProcess, names, fine=_NOT_RUNNING)
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        states = {info["name"]: info["statename"] for info in server.getAllProcessInfo()}
        if all(states[name] in DOWN for name in names):
            return troubles
        time.sleep(0.05)
    return [*troubles, f"{' '.join(names)}: did not stop within {_STOP_SECONDS:.0f} s"]


def _restart(server: Any, names: Sequence[str]) -> list[str]:
    return _stop(server, names) or _start(server, names)


def _renew(server: Any, names: Sequence[str]) -> list[str]:
    """Stop each in turn, take up its new configuration, start it and wait until it runs."""
    added, changed, _removed = server.reloadConfig()[0]
    troubles = []
    for name in names:
        if name not in added:
            troubles += _stop(server, [name])
            if name in changed:
                server.removeProcessGroup(name)
        if name in added or name in changed:
            server.addProcessGroup(name)
        troubles += _start(server, [name]) or _runs(server, name)
    return troubles


def _takeover(server: Any, names: Sequence[str]) -> list[str]:
    """Let each gunicorn in turn execute itself anew with its sockets (controlplane/serving/takeover.py), and
    wait until its earlier workers have ended. Start what does not run.
    """
    troubles = []
    for name in names:
        info = server.getProcessInfo(name)
        before = _children(info["pid"]) if info["statename"] == "RUNNING" else set()
        if not before:
            troubles += _start(server, [name]) or _runs(server, name)
            continue
        server.signalProcess(name, "HUP")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (now := _children(server.getProcessInfo(name)["pid"])) or now & before:
            if time.monotonic() > deadline:
                troubles.append(f"{name}: its new workers did not come up; see its log")
                break
            time.sleep(0.1)
        troubles += _runs(server, name)
    return troubles


def _runs(server: Any, name: str) -> list[str]:
    """Wait until the supervisor calls it running."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        state = server.getProcessInfo(name)["statename"]
        if state == "RUNNING":
            return []
        if state == "FATAL":
            break
        time.sleep(0.05)
    return [f"{name}: does not run; see its log"]


def _children(parent: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            text = stat.read_text()
            state, above = text.rpartition(")")[2].split()[:2]
            if int(above) == parent and state != "Z":
                found.add(int(stat.parent.name))
    return found if parent else set()


def _each(call: Any, names: Sequence[str], *, fine: int) -> list[str]:
    troubles = []
    for name in names:
        try:
            call(name, False)
        except Fault as fault:
            if fault.faultCode != fine:
                troubles.append(f"{name}: {fault.faultString}")
    return troubles


_VERBS: dict[str, Callable[[Any, Sequence[str]], list[str]]] = {
    "start": _start,
    "stop": _stop,
    "restart": _restart,
    "renew": _renew,
    "takeover": _takeover,
}
