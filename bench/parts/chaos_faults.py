"""What bench/chaos.py does to a lab: programs are killed at random, one or two at once, and come back.

Everything is drawn from one seed, so that a run can be told again by its number. The supervisor starts what
was killed; what was stopped is started again after some seconds. Whole hosts are not killed here: what was
ordered since the last copy is then lost by design (bench/lab.py measures that).
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from installer.supervising import programs
from tests.lab.machines import HOSTS, Lab

KILLED = ("postgres", "redis", "depot", "edge-agent", "web", "events", "control", "sweep", "beat")
STOPPED = ("postgres", "redis", "depot")
LEAST_PAUSE, LONGEST_PAUSE = 3.0, 9.0
SHORTEST_OUTAGE, LONGEST_OUTAGE = 5.0, 15.0
TWO_AT_ONCE = 0.3


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that breaks. seconds: 0 when the supervisor brings it back at once."""

    what: str
    act: Callable[[], object]
    undo: Callable[[], object]
    seconds: float = 0.0


@dataclass
class Killer:
    """Breaks something every few seconds from start() to stop(); `done` counts what."""

    lab: Lab
    dice: random.Random
    done: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> "Killer":
        """Begin."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End, with everything started again."""
        self._stopping.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stopping.wait(self.dice.uniform(LEAST_PAUSE, LONGEST_PAUSE)):
            faults = [self._draw()]
            if self.dice.random() < TWO_AT_ONCE:
                faults.append(self._draw())
            at = time.monotonic() - began
            self.log.append(f"{at:6.1f} s  " + " and ".join(fault.what for fault in faults))
            for fault in faults:
                self.done[fault.what] += 1
                fault.act()
            longest = max(fault.seconds for fault in faults)
            if longest:
                self._stopping.wait(longest)
                for fault in faults:
                    fault.undo()

    def _draw(self) -> Fault:
        kinds = [
            self._killed,
            self._killed,
            self._agent,
            self._keeper,
            self._stopped,
            self._backend,
        ]
        return self.dice.choice(kinds)()

    def _killed(self) -> Fault:
        name = self.dice.choice(KILLED)
        return Fault(f"kill {name}", lambda: kill(self.lab, "local", name), _nothing)

    def _agent(self) -> Fault:
        host = self.dice.choice(HOSTS)
        return Fault(
            f"kill host-agent of {host}", lambda: kill(self.lab, host, "host-agent"), _nothing
        )

    def _keeper(self) -> Fault:
        host = self.dice.choice(HOSTS)
        return Fault(f"kill keeper of {host}", lambda: kill(self.lab, host, "keeper"), _nothing)

    def _stopped(self) -> Fault:
        name = self.dice.choice(STOPPED)
        seconds = round(self.dice.uniform(SHORTEST_OUTAGE, LONGEST_OUTAGE), 1)
        return Fault(
            f"stop {name} for a while",
            lambda: programs.ask(_supervisor(self.lab), "stop", [name]),
            lambda: programs.ask(_supervisor(self.lab), "start", [name]),
            seconds,
        )

    def _backend(self) -> Fault:
        return Fault("kill -9 a backend of PostgreSQL", lambda: _kill_backend(self.lab), _nothing)


def kill(lab: Lab, host: str, program: str) -> None:
    """SIGKILL one program of a host; calm when it does not run just now."""
    for state in programs.states(_supervisor(lab, host)):
        if state.name == program and state.pid:
            with suppress(ProcessLookupError):
                os.kill(state.pid, signal.SIGKILL)


def _kill_backend(lab: Lab) -> None:
    """A backend that serves a client; PostgreSQL then ends all of them and recovers."""
    with suppress(AssertionError, IndexError, ProcessLookupError, ValueError):
        [[pid]] = lab.sql(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
        )
        os.kill(int(pid), signal.SIGKILL)


def _supervisor(lab: Lab, host: str = "local") -> Path:
    var = lab.stack.var if host == "local" else lab.stack.var / "hosts" / host
    return var / "run" / "supervisor.sock"


def _nothing() -> None:
    """The supervisor brings it back."""
