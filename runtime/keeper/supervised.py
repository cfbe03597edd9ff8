"""What the keeper knows of one instance, and the rule for starting it again."""

import time
from dataclasses import dataclass, field
from enum import StrEnum

from runtime.keeper.ending.exit_records import Ending
from runtime.keeper.logs import LogReader
from runtime.keeper.loop import Timer
from runtime.keeper.processes import age_seconds
from runtime.statuses import TroubleKind
from runtime.units import grown

QUICK_RESTARTS = 3
QUICK_SECONDS = 0.2
SLOW_SECONDS = 30.0
LONGEST_SECONDS = 960.0
# Between two looks for a volume that is missing.
NO_DATA_SECONDS = 30.0
# A program that ran this long was well: the count of failures begins anew.
WELL_SECONDS = 300.0


class Phase(StrEnum):
    """Where an instance is in its life; states.py has the steps, README.md says what each means."""

    ENDED = "ended"
    WAITING = "waiting"
    CLEARING = "clearing"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STUCK = "stuck"


# So long the keeper still reports what was mended in place: several reports come to control meanwhile.
REPORTED_SECONDS = 60.0

ALIVE = frozenset({Phase.RUNNING, Phase.STOPPING, Phase.STUCK})
OVER = frozenset({Phase.WAITING, Phase.CLEARING, Phase.ENDED})


@dataclass(slots=True)
class Note:
    """Something wrong with an instance (runtime.statuses.Trouble). until: monotonic, 0 while it lasts."""

    message: str
    wants_start: bool = False
    until: float = 0.0


@dataclass(slots=True)
class Supervised:
    """One instance in the keeper's care.

    phase: changed by states.Machine only. wanted: it is to run, or to be started.
    renewed: it was asked for since it last began to start. refused: why its last start failed, as
    the caller gets it. proven: it was healthy once since the agent asked for it, so its end is an
    accident and it is started again. healthy: the present run was. failures: ends in a row without a
    long good run. is_launching: its launcher has not written its line.
    """

    instance_id: str
    logs: LogReader
    phase: Phase = Phase.ENDED
    wanted: bool = False
    renewed: bool = False
    refused: dict[str, object] | None = None
    is_launching: bool = False
    proven: bool = False
    healthy: bool = False
    keep_layers: bool = True
    pid: int = 0
    ticks: int = 0
    pidfd: int = -1
    launcher: int = 0
    port: int = 0
    restarts: int = 0
    failures: int = 0
    # Processes ended for want of memory: in the runs before this one, and the cgroup's count at its start.
    oom_kills: int = 0
    oom_base: int = 0
    ending: Ending | None = None
    troubles: dict[str, Note] = field(default_factory=dict)
    timings_ms: dict[str, float] = field(default_factory=dict)
    timer: Timer | None = None
    # Connections that wait: for the next start, for the end.
    on_start: list["Listener"] = field(default_factory=list)
    on_end: list["Listener"] = field(default_factory=list)

    @property
    def exit_code(self) -> int | None:
        """The shell convention's code of the last end, None while there was none."""
        return self.ending.exit_code if self.ending else None

    def facts(self) -> dict[str, object]:
        """Return what must survive the keeper itself."""
        return {
            "pid": self.pid,
            "port": self.port,
            "ticks": self.ticks,
            "restarts": self.restarts,
            "failures": self.failures,
            "oom_kills": self.oom_kills,
            "oom_base": self.oom_base,
            "proven": self.proven,
            "healthy": self.healthy,
        }

    def shown(self, uptime: float) -> dict[str, object]:
        """Return what clients see; uptime as CLOCK_BOOTTIME gives it."""
        age = 0.0
        if self.phase in ALIVE and self.ticks:
            age = age_seconds(self.ticks, uptime=uptime)
        elif self.phase in OVER and self.ending:
            age = max(0.0, time.time() - self.ending.at)
        return {
            "instance_id": self.instance_id,
            "phase": self.phase.value,
            "age_seconds": round(age, 2),
            "timings_ms": self.timings_ms,
            "exit_code": self.exit_code,
            "last_lines": self.ending.last_lines if self.ending else (),
            "troubles": self._troubles_now(),
            **self.facts(),
        }

    def note(
        self, kind: TroubleKind, message: str, *, wants_start: bool = False, over: bool = False
    ) -> None:
        """Note that something is wrong; over: it was mended already, and is reported for a while."""
        until = time.monotonic() + REPORTED_SECONDS if over else 0.0
        self.troubles[kind] = Note(message, wants_start, until)

    def drop_notes(self) -> None:
        """What was wrong with a run is over with it; that processes do not die is not."""
        for kind in self.troubles.keys() - {TroubleKind.CANNOT_END}:
            del self.troubles[kind]

    def drop_note(self, kind: TroubleKind) -> None:
        """Drop the note that something is wrong; no-op if there is none."""
        self.troubles.pop(kind, None)

    def _troubles_now(self) -> list[tuple[str, str, bool]]:
        now = time.monotonic()
        for kind, note in list(self.troubles.items()):
            if note.until and now >= note.until:
                del self.troubles[kind]
        return [
            (kind, note.message, note.wants_start) for kind, note in sorted(self.troubles.items())
        ]

    def recall(self, facts: dict[str, int]) -> None:
        """Take over what an earlier keeper knew; its process is looked at apart.

        Nothing known, after a power cut perhaps: what should run was well, so its end is an accident.
        """
        self.port = facts.get("port", 0)
        self.restarts, self.failures = facts.get("restarts", 0), facts.get("failures", 0)
        self.oom_kills, self.oom_base = facts.get("oom_kills", 0), facts.get("oom_base", 0)
        self.proven = bool(facts.get("proven", not facts))

    def note_oom_kills(self, count: int) -> None:
        """Add what the run that ends now has brought, by the count its cgroup shows."""
        self.oom_kills += grown(self.oom_base, count)
        self.oom_base = count

    def drop_timer(self) -> None:
        """Forget what was to happen later."""
        if self.timer:
            self.timer.cancelled = True
            self.timer = None


class Listener:
    """Receives messages about an instance; the server's connections are of this kind."""

    def tell(self, message: dict[str, object]) -> None:
        """Send one message."""
        raise NotImplementedError


def taken(listeners: list[Listener]) -> list[Listener]:
    """Return the listeners, who are no longer in the list."""
    found = listeners[:]
    listeners.clear()
    return found


def is_crash_looping(phase: str, failures: int, age: float) -> bool:
    """Return whether an instance ends again and again and is started with growing pauses."""
    is_well = phase == Phase.RUNNING and age >= WELL_SECONDS
    return failures > QUICK_RESTARTS and phase != Phase.ENDED and not is_well


def backoff_seconds(failures: int) -> float:
    """Return how long to wait before the next start after that many ends in a row: thrice quickly, then
    doubling.
    """
    if failures <= QUICK_RESTARTS:
        return QUICK_SECONDS
    doubled = SLOW_SECONDS * float(2 ** min(failures - QUICK_RESTARTS - 1, 10))
    return min(LONGEST_SECONDS, doubled)
