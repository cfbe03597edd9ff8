"""Asks every running shop for its health every half minute, spread evenly, as a visitor would.

Three questions in a row without an answer are reported. Whether the shop is hung or only busy decides
what is done: a program of one thread may be at work on a long request, and a restart would lose that work.
A shop that burns processor time is busy and has ten minutes. A shop that refuses connections, was stopped
by a signal, or does nothing at all has hung, and a start is asked for (docs/decisions/0028).

Every eighth question is for the front page: a program may answer its health path while its pages hang.
That is only reported: the shop itself may be the cause, and a start would end what it is doing.

All questions are descriptors in the keeper's one loop; bench/health.py says what they cost.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from zlib import crc32

from runtime.bundle import InstanceDirectory, InstanceRecord
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.keeper.loop import Loop
from runtime.keeper.processes import age_seconds, is_at_work, is_stopped
from runtime.keeper.supervised import Phase, Supervised
from runtime.keeper.watching.question import Answer, Question, request_of, words
from runtime.network import address_for
from runtime.specs import InstanceSpec
from runtime.statuses import TroubleKind

_TICK_SECONDS = 0.25
_NEW_SECONDS = 5.0
_NEW_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Pace:
    """How often is asked, and how long is waited, in seconds.

    hung: without any answer so long, one that does nothing has hung; busy: one that is at work has.
    busy_share: of one core, on average since the first question that was not answered. page_every: of how
    many questions one is for the front page.
    """

    every: float = 30.0
    again: float = 4.0
    answer: float = 8.0
    misses: int = 3
    hung: float = 40.0
    busy: float = 600.0
    busy_share: float = 0.02
    page_every: int = 8


@dataclass(slots=True)
class _Patient:
    """What is known of one run of a container; small, for there are thousands."""

    kept: Supervised
    pid: int
    port: int
    health_timeout_seconds: float
    request: bytes
    # The question for the front page; empty where that is the other one anyway.
    page: bytes
    address: str
    # Whether it is known to speak HTTP: then to hang up is no answer. A start demands it where there is a
    # health path.
    speaks: bool = False
    misses: int = 0
    page_misses: int = 0
    turns: int = 0
    missed_at: float = 0.0
    cpu_nanos: int = 0
    due_at: float = 0.0
    question: Question | None = None


@dataclass(frozen=True, slots=True)
class HealthHooks:
    """Whom the watch tells, and asks. was_frozen: whether it stood still for our sake since a moment."""

    running: Callable[[], list[Supervised]]
    note_health: Callable[..., None]
    unplugged: Callable[[Supervised], None]
    outside: Callable[[Supervised], None]
    was_frozen: Callable[[str, float], bool]


class HealthWatch:
    """Begin with `look`, which comes back by itself."""

    def __init__(
        self,
        loop: Loop,
        config: HostConfig,
        cgroups: Cgroups,
        hooks: HealthHooks,
        pace: Pace = Pace(),
    ) -> None:
        self._loop = loop
        self._config = config
        self._cgroups = cgroups
        self._hooks = hooks
        self._pace = pace
        self._patients: dict[str, _Patient] = {}
        self._due: list[tuple[float, str, int]] = []
        self._asked: deque[tuple[float, _Patient, Question]] = deque()
        self._new_at = 0.0

    def look(self) -> None:
        """Ask who is due, and look again a moment later."""
        self._loop.after(_TICK_SECONDS, self.look)
        now = time.monotonic()
        while self._asked and self._asked[0][0] <= now:
            _until, _patient, question = self._asked.popleft()
            question.late()
        if now >= self._new_at:
            self._new_at = now + _NEW_SECONDS
            self._take_in(now)
        while self._due and self._due[0][0] <= now:
            at, instance_id, pid = heapq.heappop(self._due)
            patient = self._patients.get(instance_id)
            if patient and (patient.pid, patient.due_at) == (pid, at):  # else another time was set
                self._turn(patient, now)

    def _take_in(self, now: float) -> None:
        """Those that run since the last look; each has its own moment within the period."""
        here = {kept.instance_id: kept for kept in self._hooks.running()}
        for gone in self._patients.keys() - here.keys():
            self._let_go(gone)
        left = _NEW_AT_ONCE
        for instance_id, kept in here.items():
            known = self._patients.get(instance_id)
            if known and known.pid == kept.pid:
                continue
            self._let_go(instance_id)
            if (left := left - 1) < 0:
                self._new_at = now  # reading records takes time: the rest at the next look
                return
            if record := self._record(instance_id):
                patient = self._patients[instance_id] = self._patient(kept, record.spec)
                offset = crc32(instance_id.encode()) / 2**32 * self._pace.every
                self._next(patient, now + (offset - now) % self._pace.every)

    def _patient(self, kept: Supervised, spec: InstanceSpec) -> _Patient:
        has_page = spec.health_path not in ("", "/")
        return _Patient(
            kept,
            kept.pid,
            spec.container_port,
            spec.health_timeout_seconds,
            request_of(spec),
            request_of(replace(spec, health_path="/")) if has_page else b"",
            str(address_for(self._config, spec.published_port)),
            speaks=bool(spec.health_path),
            turns=crc32(kept.instance_id.encode()),  # not all front pages in the same half minute
        )

    def _record(self, instance_id: str) -> InstanceRecord | None:
        return InstanceDirectory.of(self._config.state_dir, instance_id).read_or_none()

    def _let_go(self, instance_id: str) -> None:
        patient = self._patients.pop(instance_id, None)
        if patient and patient.question:
            patient.question.drop()

    def _turn(self, patient: _Patient, now: float) -> None:
        kept = patient.kept
        if kept.phase is not Phase.RUNNING or kept.pid != patient.pid:
            self._let_go(kept.instance_id)
            return
        self._next(patient, now + self._pace.every)
        if not self._cgroups.holds(kept.instance_id, kept.pid):
            self._hooks.outside(kept)
        patient.turns += 1
        # While the page gives none, every other question is for it: several in a row are reported.
        every = 2 if patient.page_misses else self._pace.page_every
        if patient.page and kept.healthy and not patient.misses and patient.turns % every == 0:
            self._put(patient, now, patient.page, self._page_answered)
        elif kept.healthy or patient.misses or self._should_be_up(patient):
            self._ask(patient, now)

    def _should_be_up(self, patient: _Patient) -> bool:
        """Return whether a shop that the keeper started, and that never came up, has used up its time."""
        age = age_seconds(patient.kept.ticks, uptime=time.clock_gettime(time.CLOCK_BOOTTIME))
        return patient.kept.proven and age > patient.health_timeout_seconds

    def _ask(self, patient: _Patient, now: float) -> None:
        if not patient.misses:
            patient.missed_at = now
        self._put(patient, now, patient.request, self._answered)

    def _put(
        self,
        patient: _Patient,
        now: float,
        request: bytes,
        answered: Callable[[_Patient, float, Answer], None],
    ) -> None:
        patient.question = None
        question = Question(
            self._loop, patient.address, patient.port, request, partial(answered, patient, now)
        )
        patient.question = question
        self._asked.append((now + self._pace.answer, patient, question))

    def _page_answered(self, patient: _Patient, asked_at: float, answer: Answer) -> None:
        """Any whole answer will do, whatever its status."""
        kept = patient.kept
        if kept.phase is not Phase.RUNNING or kept.pid != patient.pid:
            return
        if answer is Answer.GIVEN:
            patient.page_misses = 0
            self._is_well_again(patient)
        elif answer not in (Answer.SILENT, Answer.HALF, Answer.CLOSED):
            # Whether it can be reached at all is the other question's to find out.
            self._next(patient, time.monotonic() + self._pace.again)
        elif not self._hooks.was_frozen(kept.instance_id, asked_at):
            patient.page_misses += 1
            if (
                patient.page_misses >= self._pace.misses
                and TroubleKind.NOT_ANSWERING not in kept.troubles
            ):
                why = words(answer, patient.port, patient.page, self._pace.answer)
                kept.note(TroubleKind.NOT_ANSWERING, f"{why}, though its health path answers")

    def _answered(self, patient: _Patient, asked_at: float, answer: Answer) -> None:
        kept = patient.kept
        if kept.phase is not Phase.RUNNING or kept.pid != patient.pid:
            return
        is_there = answer is Answer.CLOSED and not patient.speaks
        if answer is Answer.GIVEN or is_there:
            patient.speaks = not is_there
            if patient.misses:
                patient.misses = 0
                self._is_well_again(patient)
            return
        if self._hooks.was_frozen(kept.instance_id, asked_at):
            return
        self._thaw(kept)
        now = time.monotonic()
        if not patient.misses:
            patient.cpu_nanos = self._cgroups.cpu_nanos(kept.instance_id)
        patient.misses += 1
        if answer in (Answer.NO_WAY, Answer.NOT_TAKEN):
            self._hooks.unplugged(kept)
        self._next(patient, now + self._pace.again)
        if patient.misses >= self._pace.misses:
            self._tell(patient, answer, now)

    def _thaw(self, kept: Supervised) -> None:
        """Let go on what somebody else has frozen, or has forgotten so."""
        if self._cgroups.is_frozen(kept.instance_id):
            self._cgroups.thaw(kept.instance_id)
            kept.note(TroubleKind.NOT_ANSWERING, "its cgroup was frozen; it goes on", over=True)

    def _tell(self, patient: _Patient, answer: Answer, now: float) -> None:
        kept, seconds = patient.kept, now - patient.missed_at
        why = words(answer, patient.port, patient.request, self._pace.answer)
        if is_stopped(kept.pid):
            why, is_hung = f"{why}: it was stopped by a signal", True
        elif answer is Answer.REFUSED:
            is_hung = True
        elif self._is_busy(patient, seconds):
            why, is_hung = f"{why}, and is at work", seconds >= self._pace.busy
        else:
            is_hung = seconds >= self._pace.hung
        note = kept.troubles.get(TroubleKind.NOT_ANSWERING)
        if (
            note is None or note.until or note.wants_start != is_hung
        ):  # else control would read it all anew each time
            kept.note(TroubleKind.NOT_ANSWERING, why, wants_start=is_hung)
        if is_hung and kept.healthy:
            self._hooks.note_health(kept, is_well=False)

    def _is_busy(self, patient: _Patient, seconds: float) -> bool:
        instance_id = patient.kept.instance_id
        used = self._cgroups.cpu_nanos(instance_id) - patient.cpu_nanos
        if used > seconds * self._pace.busy_share * 1e9:
            return True
        return any(map(is_at_work, self._cgroups.pids(instance_id)))

    def _is_well_again(self, patient: _Patient) -> None:
        kept = patient.kept
        note = kept.troubles.get(TroubleKind.NOT_ANSWERING)
        if note is None:
            return
        if not note.until:  # what was mended is reported for its time
            kept.drop_note(TroubleKind.NOT_ANSWERING)
        if not kept.healthy:
            self._hooks.note_health(kept, is_well=True)

    def _next(self, patient: _Patient, at: float) -> None:
        patient.due_at = at
        heapq.heappush(self._due, (at, patient.kept.instance_id, patient.pid))
