"""Talks to one supervisord: deploy/programs.py SOCKET start|stop|renew|takeover|status|pid|shutdown [NAME…]

supervisorctl waits a second for each program it starts, one after another; this asks for all at once.
"""

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.options import split_namespec
from supervisor.xmlrpc import Faults, SupervisorTransport

PATIENCE_SECONDS = 180.0
DOWN = {"STOPPED", "EXITED", "FATAL", "UNKNOWN"}


def main(argv: list[str]) -> int:
    """Do what argv says; 0 when every named program then is as asked."""
    if len(argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    socket, verb, *names = argv
    transport = SupervisorTransport(None, None, f"unix://{socket}")
    server: Any = ServerProxy("http://127.0.0.1", transport=transport).supervisor
    try:
        if verb == "shutdown":
            server.shutdown()
            return 0
        verbs = {
            "start": start,
            "stop": stop,
            "restart": restart,
            "renew": renew,
            "takeover": takeover,
            "status": status,
            "pid": pid,
        }
        return verbs[verb](server, names or [info["name"] for info in server.getAllProcessInfo()])
    except (OSError, Fault) as error:
        print(f"{verb} {' '.join(names)}: {error}", file=sys.stderr)
        return 1


def start(server: Any, names: list[str]) -> int:
    """Start without waiting; one that runs already is left alone."""
    return _ask(server.startProcess, names, fine=Faults.ALREADY_STARTED)


def stop(server: Any, names: list[str]) -> int:
    """Ask all to stop, then wait until they have (supervisord kills after stopwaitsecs)."""
    asked = _ask(server.stopProcess, names, fine=Faults.NOT_RUNNING)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        states = {info["name"]: info["statename"] for info in server.getAllProcessInfo()}
        if all(states[name] in DOWN for name in names):
            return asked
        time.sleep(0.05)
    return 1


def restart(server: Any, names: list[str]) -> int:
    """Stop, then start."""
    return stop(server, names) or start(server, names)


def renew(server: Any, names: list[str]) -> int:
    """Stop each in turn, take up its new configuration, start it and wait until it runs."""
    added, changed, _removed = server.reloadConfig()[0]
    failed = 0
    for name in names:
        if name not in added:
            failed |= stop(server, [name])
            if name in changed:
                server.removeProcessGroup(name)
        if name in added or name in changed:
            server.addProcessGroup(name)
        failed |= start(server, [name]) or _runs(server, name)
    return failed


def takeover(server: Any, names: list[str]) -> int:
    """Let each gunicorn in turn execute itself anew with its sockets (controlplane/serving/takeover.py), and
    wait until its earlier workers have ended. Start what does not run.
    """
    failed = 0
    for name in names:
        info = server.getProcessInfo(name)
        before = _children(info["pid"]) if info["statename"] == "RUNNING" else set()
        if not before:
            failed |= start(server, [name]) or _runs(server, name)
            continue
        server.signalProcess(name, "HUP")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            now = _children(server.getProcessInfo(name)["pid"])
            if now and not now & before:
                break
            if time.monotonic() > deadline:
                print(f"{name}: its new workers did not come up; see its log", file=sys.stderr)
                failed = 1
                break
            time.sleep(0.1)
        failed |= _runs(server, name)
    return failed


def _runs(server: Any, name: str) -> int:
    """Wait until the supervisor calls it running; 1 when it does not become so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        state = server.getProcessInfo(name)["statename"]
        if state == "RUNNING":
            return 0
        if state == "FATAL":
            break
        time.sleep(0.05)
    print(f"{name}: does not run; see its log", file=sys.stderr)
    return 1


def _children(parent: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            text = stat.read_text()
            state, above = text.rpartition(")")[2].split()[:2]
            if int(above) == parent and state != "Z":
                found.add(int(stat.parent.name))
    return found if parent else set()


def status(server: Any, names: list[str]) -> int:
    """Print a line per program: name, state, pid, seconds it has run. 1 when any does not run."""
    infos = {info["name"]: info for info in server.getAllProcessInfo()}
    for name in names:
        info = infos[name]
        age = info["now"] - info["start"] if info["pid"] else 0
        print(name, info["statename"], info["pid"], age)
    return int(any(infos[name]["statename"] not in {"RUNNING", "STARTING"} for name in names))


def pid(server: Any, names: list[str]) -> int:
    """Print the process ids, one a line (0: not running)."""
    for name in names:
        print(server.getProcessInfo(name)["pid"])
    return 0


def _ask(call: Any, names: list[str], *, fine: int) -> int:
    failed = 0
    for name in names:
        try:
            call(":".join(part for part in split_namespec(name) if part), False)
        except Fault as fault:
            if fault.faultCode != fine:
                print(f"{name}: {fault.faultString}", file=sys.stderr)
                failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
