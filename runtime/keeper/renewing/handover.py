"""What one keeper's code hands to the next when the process executes itself anew.

The process stays, so its children stay its children and their exit codes still come to it; so do open
descriptors. All else is in one JSON object in a memory file. Both sides have one version number: code
that does not know it is found out before anything is given up (`--check`).
"""

import json
import os
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from runtime.bundle import InstanceDirectory
from runtime.errors import HostError
from runtime.keeper.ending.exit_records import read_ending
from runtime.keeper.logs import LogReader
from runtime.keeper.supervised import Listener, Phase, Supervised
from runtime.statuses import TroubleKind

VERSION = 1
State = dict[str, Any]


def write_state(state: State) -> int:
    """Return a memory file with the state; its descriptor outlives the execution of new code."""
    fd = os.memfd_create("keeper-handover", 0)
    left = memoryview(json.dumps({**state, "v": VERSION}).encode())
    while left:
        left = left[os.write(fd, left) :]
    return fd


def read_state(fd: int) -> State:
    """Return the state in a memory file; HostError when it is of a version this code does not know."""
    state: State = json.loads(os.pread(fd, os.fstat(fd).st_size, 0))
    if state.get("v") != VERSION:
        raise HostError(
            f"the running keeper hands over version {state.get('v')}; this code takes {VERSION}:"
            " stop the keeper and start it"
        )
    for instance in state["instances"].values():
        Phase(instance["phase"])
    return state


def descriptors(state: State) -> list[int]:
    """Return every descriptor that is handed over."""
    found = [
        state["lock"],
        state["listening"],
        *(connection["fd"] for connection in state["connections"]),
    ]
    for instance in state["instances"].values():
        found += [
            *instance["fds"].values(),
            *([instance["pidfd"]] if instance["pidfd"] >= 0 else []),
        ]
    return found


def handed(kept: Supervised, number_of: Callable[[Listener], int]) -> State:
    """Return one instance. number_of: the place of a connection in the list of connections, -1 for none."""
    wait = max(0.0, kept.timer.at - time.monotonic()) if kept.timer else 0.0
    stuck = kept.troubles.get(TroubleKind.CANNOT_END)
    return {
        **kept.facts(),
        "phase": kept.phase.value,
        "wanted": kept.wanted,
        "renewed": kept.renewed,
        "refused": kept.refused,
        "stuck": stuck.message if stuck else "",
        "keep_layers": kept.keep_layers,
        "pidfd": kept.pidfd,
        "timings_ms": kept.timings_ms,
        "wait": wait,
        "fds": kept.logs.fds,
        "unfinished": {name: packed(rest) for name, rest in kept.logs.hand_over().items()},
        "on_start": [number_of(listener) for listener in kept.on_start],
        "on_end": [number_of(listener) for listener in kept.on_end],
    }


def taken_over(directory: InstanceDirectory, state: State, listeners: list[Listener]) -> Supervised:
    """Return the instance that `handed` was given, as this code keeps it."""
    unfinished = {name: unpacked(rest) for name, rest in state["unfinished"].items()}
    logs = LogReader(directory, fds=state["fds"], unfinished=unfinished)
    phase = Phase(state["phase"])
    kept = Supervised(directory.root.name, logs, phase)
    kept.recall(state)
    # Older code left it wanted after an end; it did not say the other three.
    kept.wanted = state["wanted"] and phase is not Phase.ENDED
    kept.renewed, kept.refused = state.get("renewed", False), state.get("refused")
    if why := state.get("stuck"):
        kept.note(TroubleKind.CANNOT_END, why)
    kept.keep_layers, kept.healthy = state["keep_layers"], bool(state["healthy"])
    kept.pid, kept.ticks, kept.pidfd = state["pid"], state["ticks"], state["pidfd"]
    kept.timings_ms, kept.ending = state["timings_ms"], read_ending(directory)
    kept.on_start = [listeners[number] for number in state["on_start"] if number >= 0]
    kept.on_end = [listeners[number] for number in state["on_end"] if number >= 0]
    return kept


def packed(data: bytes) -> str:
    """Bytes as JSON takes them."""
    return b64encode(data).decode()


def unpacked(text: str) -> bytes:
    """Return the bytes that were packed."""
    return b64decode(text)
