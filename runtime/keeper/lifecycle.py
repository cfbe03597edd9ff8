"""What the keeper does in each step of the table in states.py, and where the events come from."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from runtime.bundle import InstanceDirectory
from runtime.errors import DataMissingError, HostError, InputError, RuntimeCoreError
from runtime.keeper.ending.clearing import Clearing, ClearingHooks
from runtime.keeper.ending.exit_records import drop_ending, note_content, note_ending
from runtime.keeper.ending.stopping import Stopping, disconnect
from runtime.keeper.logs import renewed
from runtime.keeper.loop import Loop
from runtime.keeper.processes import (
    age_seconds,
    exit_code,
    exit_code_of_stranger,
    say,
    send_signal,
    start_ticks,
)
from runtime.keeper.starting.launch import Launcher
from runtime.keeper.starting.start_queue import Outcome, Starts
from runtime.keeper.states import NO_NEWS, Action, Event, Machine, News
from runtime.keeper.supervised import (
    NO_DATA_SECONDS,
    WELL_SECONDS,
    Phase,
    Supervised,
    backoff_seconds,
    taken,
)
from runtime.statuses import TroubleKind

# A start takes tens of milliseconds; one that takes this long has hung.
START_SECONDS = 120.0
_UNCLAIMED = 256


class Lifecycle:
    """Drives the instances of a host. changed: something must be written down before long. settled: one
    has ended, or cannot be ended.
    """

    def __init__(
        self,
        loop: Loop,
        launcher: Launcher,
        instances: dict[str, Supervised],
        changed: Callable[[], None],
        settled: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._config = launcher.config
        self._cgroups = launcher.cgroups
        self._instances = instances
        self._settled = settled
        self.starts = Starts(loop, launcher, partial(self.fire, event=Event.TURN), self._reported)
        hooks = ClearingHooks(self._others, self._stuck, self._cleared)
        self.clearing = Clearing(loop, launcher.cgroups, hooks)
        self._stopping = Stopping(loop, launcher, self._kill)
        self._by_pid: dict[int, Supervised] = {}
        # Ends that came before the launcher said whose they are.
        self.unclaimed: dict[int, int] = {}
        # Children that are neither containers nor launchers, and who wants to know their wait status.
        self.other_children: dict[int, Callable[[int], None]] = {}
        self._machine = Machine(
            {
                Action.RENEW: self._renew,
                Action.QUEUE: self._queue,
                Action.LEAVE_QUEUE: lambda kept, _: self.starts.leave(kept),
                Action.LAUNCH: self._launch,
                Action.ABORT: lambda kept, _: send_signal(kept.launcher, signal.SIGKILL),
                Action.SERVE: self._serve,
                Action.GREET: self._greet,
                Action.TERMINATE: self._terminate,
                Action.KILL: lambda kept, _: self._kill(kept),
                Action.NOTE_END: self._note_end,
                Action.GIVE_UP: self._give_up,
                Action.REFUSE: self._refuse,
                Action.PAUSE: self._pause,
                Action.CLEAR: lambda kept, _: self._clear(kept),
                Action.CLEAR_ALL: lambda kept, _: self._clear(kept, removes=True),
                Action.SETTLE: self._settle,
                Action.REPORT: self._report,
                Action.DROP: self._drop,
            },
            changed,
        )

    def fire(self, kept: Supervised, event: Event, news: News = NO_NEWS) -> None:
        """Something has happened to an instance."""
        self._machine.fire(kept, event, news)

    def go_on(self, kept: Supervised, wait: float) -> None:
        """Take up an instance in the middle of its life, as other code has handed it over."""
        self._watch(kept)
        match kept.phase:
            case Phase.QUEUED:
                self.starts.enqueue(kept)
            case Phase.STARTING:  # of code that ended a failed start in this state
                self._reported(kept, {})
            case Phase.WAITING:
                kept.timer = self._loop.after(wait, partial(self.fire, kept, Event.DUE))
            case Phase.STOPPING if wait:
                kept.timer = self._loop.after(wait, partial(self._kill, kept))
            case Phase.STOPPING | Phase.CLEARING | Phase.STUCK:
                self._clear(kept)

    # Where events come from -------------------------------------------------------------------

    def child_ended(self, pid: int, status: int) -> None:
        """A child has ended, with this wait status: a container, a launcher, another."""
        kept = self._by_pid.pop(pid, None)
        if kept:
            self._ended(kept, exit_code(status))
        elif pid in self.other_children:
            self.other_children.pop(pid)(status)
        elif not self.starts.launcher_ended(pid):
            self.unclaimed[pid] = status
            if len(self.unclaimed) > _UNCLAIMED:
                del self.unclaimed[next(iter(self.unclaimed))]

    def _stranger_ended(self, kept: Supervised) -> None:
        """An adopted container is not our child; its pidfd tells that and, on new kernels, how it ended."""
        self._loop.forget(kept.pidfd)
        code = exit_code_of_stranger(kept.pidfd)
        os.close(kept.pidfd)
        kept.pidfd = -1
        self._ended(kept, code)

    def _ended(self, kept: Supervised, code: int) -> None:
        ran = age_seconds(kept.ticks, uptime=time.clock_gettime(time.CLOCK_BOOTTIME))
        is_accident = kept.wanted and kept.proven
        event = Event.CRASHED if is_accident else Event.EXITED
        self.fire(kept, event, News(exit_code=code, ran_seconds=ran))

    def _reported(self, kept: Supervised, outcome: Outcome) -> None:
        """A launcher has ended its work; outcome is what it says of it, {} when it was killed."""
        if "pid" in outcome:
            self.fire(kept, Event.LAUNCHED, News(outcome=outcome, pid=outcome["pid"]))
            return
        say(_reason(kept, outcome))
        may_help = kept.proven and kept.wanted and outcome.get("code") != InputError.code
        self.fire(kept, Event.RETRY if may_help else Event.FAILED, News(outcome=outcome))

    def _stuck(self, instance_id: str, why: str) -> None:
        if kept := self._instances.get(instance_id):
            self.fire(kept, Event.STUCK, News(why=why))

    def _cleared(self, instance_id: str) -> None:
        kept = self._instances.get(instance_id)
        # The end of its first process or of its launcher comes still, and it is looked at again then.
        if kept and not kept.pid and not kept.is_launching:
            self.fire(kept, Event.READY if kept.wanted else Event.CLEARED)

    def _others(self, instance_id: str) -> tuple[int, ...]:
        """Return what somebody may have taken out of its cgroup, or what has not entered it yet."""
        kept = self._instances.get(instance_id)
        if kept is None:
            return ()
        first = kept.pid if kept.ticks and start_ticks(kept.pid) == kept.ticks else 0
        launcher = kept.launcher if kept.is_launching and start_ticks(kept.launcher) else 0
        return tuple(pid for pid in (first, launcher) if pid)

    # The actions ------------------------------------------------------------------------------

    def _renew(self, kept: Supervised, news: News) -> None:
        """What was before does not count any more: somebody asks for it."""
        kept.restarts = kept.failures = kept.oom_kills = 0
        kept.keep_layers, kept.renewed, kept.refused = news.keep_layers, True, None

    def _clear(self, kept: Supervised, *, removes: bool = False) -> None:
        self.clearing.begin(kept.instance_id, removes=removes)

    def _kill(self, kept: Supervised) -> None:
        """Its time is over."""
        kept.drop_timer()
        self._clear(kept)

    def _queue(self, kept: Supervised, _news: News) -> None:
        self._tell_end(kept)
        if kept.renewed:
            kept.ending, kept.proven, kept.renewed = None, False, False
            try:
                drop_ending(self._directory(kept))
            except OSError as error:
                say(f"the last end of {kept.instance_id} is not forgotten: {error}")
        kept.logs = renewed(kept.logs, self._loop)
        kept.troubles.clear()
        self.starts.enqueue(kept)

    def _launch(self, kept: Supervised, _news: News) -> None:
        kept.timer = self._loop.after(START_SECONDS, partial(self.fire, kept, Event.LATE))
        self.starts.launch(kept)

    def _serve(self, kept: Supervised, news: News) -> None:
        kept.pid, kept.ticks, kept.pidfd = news.pid, start_ticks(news.pid), news.pidfd
        kept.timings_ms = news.outcome.get("timings_ms", {})
        self._watch(kept)

    def _watch(self, kept: Supervised) -> None:
        if kept.pidfd >= 0:
            self._loop.watch(kept.pidfd, partial(self._stranger_ended, kept))
        elif kept.pid:
            self._by_pid[kept.pid] = kept
            if kept.pid in self.unclaimed:
                status = self.unclaimed.pop(kept.pid)
                self._loop.after(0, partial(self.child_ended, kept.pid, status))

    def _greet(self, kept: Supervised, _news: News) -> None:
        for listener in taken(kept.on_start):
            listener.tell({"ok": True, "pid": kept.pid, "timings_ms": kept.timings_ms})
            kept.on_end.append(listener)

    def _terminate(self, kept: Supervised, news: News) -> None:
        try:
            self._stopping.terminate(kept, news.grace_seconds)
        except (RuntimeCoreError, OSError) as error:
            say(f"{kept.instance_id} got no stop signal, and is killed: {error}")
            self._kill(kept)

    def _note_end(self, kept: Supervised, news: News) -> None:
        self._by_pid.pop(kept.pid, None)
        kept.pid, kept.ticks, kept.healthy = 0, 0, False
        kept.drop_timer()
        kept.logs.drain()
        kept.note_oom_kills(self._cgroups.oom_kills(kept.instance_id))
        directory = self._directory(kept)
        kept.ending = note_ending(directory, news.exit_code, ran_seconds=news.ran_seconds)
        note_content(self._config.state_dir, directory)
        kept.drop_notes()

    def _give_up(self, kept: Supervised, _news: News) -> None:
        kept.wanted = False

    def _refuse(self, kept: Supervised, news: News) -> None:
        code = news.outcome.get("code", HostError.code)
        kept.refused = {"ok": False, "code": code, "message": _reason(kept, news.outcome)}

    def _pause(self, kept: Supervised, news: News) -> None:
        """After an end of the program, or a start that failed. Missing data is neither's fault."""
        if news.outcome.get("code") == DataMissingError.code:
            wait = NO_DATA_SECONDS
        else:
            kept.failures = 1 if news.ran_seconds >= WELL_SECONDS else kept.failures + 1
            kept.restarts += 1
            kept.keep_layers = True
            wait = backoff_seconds(kept.failures)
            say(f"{kept.instance_id} ended with {kept.exit_code}; starting it again in {wait:g} s")
        kept.timer = self._loop.after(wait, partial(self.fire, kept, Event.DUE))
        self._tell_end(kept)

    def _settle(self, kept: Supervised, _news: News) -> None:
        """It will not be started again by itself: no route to it, and an answer to all who wait."""
        disconnect(self._config, kept)
        self._tell_end(kept)
        message = f"{kept.instance_id} was stopped"
        answer = kept.refused or {"ok": False, "code": HostError.code, "message": message}
        kept.refused = None
        for listener in taken(kept.on_start):
            listener.tell(answer)
        self._settled()

    def _report(self, kept: Supervised, news: News) -> None:
        kept.note(TroubleKind.CANNOT_END, news.why)
        self.starts.give_place(kept)
        self._settled()

    def _drop(self, kept: Supervised, _news: News) -> None:
        kept.logs.close()
        del self._instances[kept.instance_id]

    # Small parts ------------------------------------------------------------------------------

    def _directory(self, kept: Supervised) -> InstanceDirectory:
        return InstanceDirectory.of(self._config.state_dir, kept.instance_id)

    def _tell_end(self, kept: Supervised) -> None:
        for listener in taken(kept.on_end):
            listener.tell({"ok": True, "ended": kept.instance_id, "exit_code": kept.exit_code})


def _reason(kept: Supervised, outcome: Mapping[str, Any]) -> str:
    return str(outcome.get("message", f"the start of {kept.instance_id} was cut short"))
