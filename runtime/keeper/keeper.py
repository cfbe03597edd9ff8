"""The keeper's work: begin starts, note ends, start again what fell, stop what is told to.

All of it runs in one thread; whatever may take long happens in the launcher's own process.
"""

import os
import signal
import time
from collections.abc import Callable
from functools import partial

from runtime.bundle import InstanceDirectory, instance_ids
from runtime.disk import Spaces
from runtime.errors import DataMissingError, HostError, InputError, RuntimeCoreError
from runtime.keeper import handover
from runtime.keeper.clearing import Clearing
from runtime.keeper.endings import drop_ending, note_ending, read_ending
from runtime.keeper.kept import (
    BEGINNING,
    NO_DATA_SECONDS,
    WELL_SECONDS,
    Kept,
    Listener,
    Phase,
    backoff_seconds,
    taken,
)
from runtime.keeper.launch import Launcher
from runtime.keeper.logs import LogReader, renewed
from runtime.keeper.loop import Loop
from runtime.keeper.memory import Memory, found_on_disk
from runtime.keeper.processes import (
    age_seconds,
    exit_code,
    exit_code_of_stranger,
    say,
    send_signal,
    start_ticks,
)
from runtime.keeper.starts import Outcome, Starts
from runtime.keeper.stopping import Stopping, disconnect

_UNCLAIMED = 256


class Keeper:
    """Every instance of this host, from its directory on disk to its process."""

    def __init__(self, loop: Loop, launcher: Launcher) -> None:
        self._loop = loop
        self._launcher = launcher
        self._config = launcher.config
        self._kept: dict[str, Kept] = {}
        self.starts = Starts(loop, launcher, self._reported)
        self._clearing = Clearing(loop, launcher.cgroups, self._note_stuck)
        self._stopping = Stopping(loop, launcher, self._clearing, self._settle_if_gone)
        self._by_pid: dict[int, Kept] = {}
        # Ends that came before the launcher said whose they are.
        self._unclaimed: dict[int, int] = {}
        self._memory = Memory(loop, self._config.state_dir / "keeper.json", self._facts)
        self._on_all_ended: list[Listener] = []
        # Children that are neither containers nor launchers, and who wants to know their wait status.
        self.other_children: dict[int, Callable[[int], None]] = {}

    # What clients ask ------------------------------------------------------------------------

    def start(self, instance_id: str, listener: Listener, *, keep_layers: bool) -> None:
        """Start an instance from its record on disk; the listener is told when crun has done its part.

        Running already: told at once. The listener is told again when the container ends.
        """
        kept = self._get(instance_id)
        kept.wanted = True
        if kept.phase is Phase.RUNNING:
            listener.tell(self._started(kept))
            kept.on_end.append(listener)
            return
        kept.on_start.append(listener)
        if kept.phase in BEGINNING or kept.phase is Phase.STOPPING:
            return  # the start under way, or the one after this end, will tell
        kept.restarts = kept.failures = kept.oom_kills = 0
        self._begin_anew(kept)
        kept.keep_layers = keep_layers
        self._enqueue(kept)

    def stop(self, instance_id: str, listener: Listener, *, grace_seconds: float) -> None:
        """End an instance's container and keep it ended; the listener is told once it has ended."""
        kept = self._get(instance_id)
        kept.wanted = False
        kept.on_end.append(listener)
        self._begin_stop(kept, grace_seconds)

    def confirm(self, instance_id: str) -> None:
        """The instance answers its health path: from now on its end is an accident."""
        kept = self._get(instance_id)
        if kept.phase is Phase.RUNNING:
            kept.proven = kept.healthy = True
            self._memory.changed()

    def running(self) -> list[Kept]:
        """What runs now."""
        return [kept for kept in self._kept.values() if kept.phase is Phase.RUNNING]

    def note_health(self, kept: Kept, *, is_well: bool) -> None:
        """The health watch has changed its mind about what runs."""
        kept.healthy = is_well
        self._memory.changed()

    def forget(self, instance_id: str) -> None:
        """Let go of an ended instance's descriptors and facts; calm when it was not known."""
        kept = self._kept.get(instance_id)
        if kept is None:
            return
        if kept.phase is not Phase.ENDED:
            raise HostError(f"{instance_id} is {kept.phase}; stop it before it is forgotten")
        kept.logs.close()
        del self._kept[instance_id]
        self._memory.changed()

    def status(self, instance_id: str | None = None) -> list[dict[str, object]]:
        """The state of one or all instances, ordered by id; nothing for one that is not known."""
        uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
        chosen = [instance_id] if instance_id else sorted(self._kept)
        return [self._kept[one].shown(uptime) for one in chosen if one in self._kept]

    def stop_all(self, listener: Listener, *, grace_seconds: float) -> None:
        """End every container, on disk everything stays wanted; the listener is told when all have ended."""
        self._on_all_ended.append(listener)
        for kept in self._kept.values():
            kept.wanted = False
            self._begin_stop(kept, grace_seconds)
        self._tell_all_ended()

    def remember(self) -> None:
        """Write down what must survive, now."""
        self._memory.write()

    # From one code to the next ---------------------------------------------------------------

    @property
    def is_stopping(self) -> bool:
        """Whether somebody waits for the end of every container."""
        return bool(self._on_all_ended)

    def hand_over(self, number_of: Callable[[Listener], int]) -> handover.State:
        """All that new code has to know to go on; see handover.handed."""
        instances = {name: handover.handed(kept, number_of) for name, kept in self._kept.items()}
        return {"instances": instances, "unclaimed": [*self._unclaimed.items()]}

    def take_over(self, state: handover.State, listeners: list[Listener]) -> None:
        """Go on where other code has stopped; listeners: by their number there."""
        self._unclaimed = dict(state["unclaimed"])
        for name, one in state["instances"].items():
            directory = InstanceDirectory.of(self._config.state_dir, name)
            kept = self._kept[name] = handover.taken_over(directory, one, listeners)
            kept.logs.listen(self._loop)
            self._go_on(kept, one["wait"])
        self._memory.changed()

    def _go_on(self, kept: Kept, wait: float) -> None:
        if kept.pidfd >= 0:
            self._loop.watch(kept.pidfd, partial(self._stranger_ended, kept))
        elif kept.pid:
            self._by_pid[kept.pid] = kept
        if kept.phase is Phase.QUEUED:
            self._enqueue(kept)
        elif kept.phase is Phase.STARTING:  # it has failed, and what it left is being ended
            self._start_failed(kept, {})
        elif kept.phase is Phase.WAITING:
            kept.timer = self._loop.after(wait, partial(self._enqueue, kept))
        elif kept.phase is Phase.STOPPING:
            kept.timer = self._loop.after(wait, partial(self._stopping.kill, kept))

    # From the disk ---------------------------------------------------------------------------

    def resume(self) -> None:
        """Take up what an earlier keeper left: adopt what still runs, start what should run, end the rest."""
        remembered = self._memory.load()
        known = instance_ids(self._config.state_dir)
        for stray in set(self._launcher.cgroups.instances()) - set(known):
            self._clearing.begin(stray)
        # After a reboot all of them queue: first what was well, last what crashed again and again.
        for instance_id in sorted(
            known, key=lambda one: remembered.get(one, {}).get("failures", 0)
        ):
            try:
                self._resume_one(instance_id, remembered.get(instance_id, {}))
            except (RuntimeCoreError, OSError) as error:
                say(f"{instance_id} is left alone: {error}")

    def _resume_one(self, instance_id: str, facts: dict[str, int]) -> None:
        directory = InstanceDirectory.of(self._config.state_dir, instance_id)
        found = found_on_disk(directory, facts, self._launcher.cgroups.pids(instance_id))
        if found is None:
            # Its removal was cut short; the agent will be told to repeat it.
            self._clearing.begin(instance_id)
            return
        kept = self._get(instance_id)
        kept.recall(facts)
        kept.port = kept.port or found.port
        kept.ending = read_ending(directory)
        kept.wanted = found.is_wanted
        # Whoever asked for it has gone; whether it had answered may have been lost with the power.
        kept.proven = kept.proven or kept.wanted
        if found.pid and kept.wanted:
            kept.healthy = bool(facts.get("healthy"))
            self._runs(kept, found.pid, ours=False)
            say(f"{instance_id} still runs as process {found.pid}")
            return
        send_signal(found.pid, signal.SIGKILL)
        kept.keep_layers = True
        self._clearing.begin(instance_id, partial(self._enqueue, kept) if kept.wanted else None)

    # Starting --------------------------------------------------------------------------------

    def _reported(self, kept: Kept, outcome: Outcome) -> None:
        """A launcher has ended its work; outcome is what it says of it, {} when it was killed."""
        if "pid" not in outcome or kept.phase is not Phase.STARTING:
            self._start_failed(kept, outcome)
            return
        kept.timings_ms = outcome["timings_ms"]
        self._runs(kept, outcome["pid"], ours=True)
        for listener in taken(kept.on_start):
            listener.tell(self._started(kept))
            kept.on_end.append(listener)

    def _enqueue(self, kept: Kept) -> None:
        """Start it as soon as it is its turn; never beside what is left of an earlier run."""
        kept.drop_timer()
        kept.phase = Phase.WAITING

        def go_on() -> None:
            if kept.phase is Phase.WAITING and kept.wanted:
                kept.logs = renewed(kept.logs, self._loop)
                kept.troubles.clear()
                self.starts.enqueue(kept)

        self._clearing.begin(kept.instance_id, go_on, removes=False)

    def _start_failed(self, kept: Kept, outcome: Outcome) -> None:
        self._clearing.begin(kept.instance_id, partial(self._after_failure, kept, outcome))

    def _after_failure(self, kept: Kept, outcome: Outcome) -> None:
        if kept.phase is Phase.STARTING:
            message = outcome.get("message", f"the start of {kept.instance_id} was cut short")
            say(message)
            if kept.proven and kept.wanted and outcome.get("code") == DataMissingError.code:
                self._wait_for_data(kept)
                return
            if kept.proven and kept.wanted and outcome.get("code") != InputError.code:
                kept.failures += 1
                self._start_again_later(kept)
                return
            error = HostError(message)
            error.code = outcome.get("code", error.code)
            self._failed(kept, error)
        else:
            self._settle(kept)

    def _wait_for_data(self, kept: Kept) -> None:
        """Look again later: no end of the program's, so no restart is counted; only data can help."""
        kept.phase = Phase.WAITING
        kept.timer = self._loop.after(NO_DATA_SECONDS, partial(self.starts.enqueue, kept))
        self._memory.changed()

    def _failed(self, kept: Kept, error: RuntimeCoreError) -> None:
        kept.phase = Phase.ENDED
        for listener in taken(kept.on_start):
            listener.tell({"ok": False, "code": error.code, "message": error.message})
        self._settle(kept)

    def _runs(self, kept: Kept, pid: int, *, ours: bool) -> None:
        kept.phase, kept.pid, kept.ticks = Phase.RUNNING, pid, start_ticks(pid)
        if ours:
            self._by_pid[pid] = kept
            if pid in self._unclaimed:
                status = self._unclaimed.pop(pid)
                self._loop.after(0, partial(self._ended, kept, exit_code(status)))
        else:
            kept.pidfd = os.pidfd_open(pid)
            self._loop.watch(kept.pidfd, partial(self._stranger_ended, kept))
        self._memory.changed()

    # Ending ----------------------------------------------------------------------------------

    def reap(self) -> None:
        """Collect every child that has ended: containers, launchers."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            kept = self._by_pid.pop(pid, None)
            if kept:
                self._ended(kept, exit_code(status))
            elif pid in self.other_children:
                self.other_children.pop(pid)(status)
            elif not self.starts.launcher_ended(pid):
                self._unclaimed[pid] = status
                if len(self._unclaimed) > _UNCLAIMED:
                    del self._unclaimed[next(iter(self._unclaimed))]

    def _stranger_ended(self, kept: Kept) -> None:
        """An adopted container is not our child; its pidfd tells that and, on new kernels, how it ended."""
        self._loop.forget(kept.pidfd)
        code = exit_code_of_stranger(kept.pidfd)
        os.close(kept.pidfd)
        kept.pidfd = -1
        self._ended(kept, code)

    def _ended(self, kept: Kept, code: int) -> None:
        ran = age_seconds(kept.ticks, uptime=time.clock_gettime(time.CLOCK_BOOTTIME))
        self._by_pid.pop(kept.pid, None)
        kept.drop_timer()
        kept.logs.drain()
        kept.note_oom_kills(self._launcher.cgroups.oom_kills(kept.instance_id))
        directory = InstanceDirectory.of(self._config.state_dir, kept.instance_id)
        kept.ending = note_ending(directory, code, ran_seconds=ran)
        kept.pid, kept.ticks, kept.healthy = 0, 0, False
        self._note_content(kept.instance_id)
        kept.troubles.clear()
        if kept.phase is Phase.RUNNING and kept.wanted and kept.proven:
            kept.failures = 1 if ran >= WELL_SECONDS else kept.failures + 1
            self._start_again_later(kept)
        else:
            kept.phase = Phase.ENDED
            self._settle(kept)
        self._tell_end(kept)

    def _start_again_later(self, kept: Kept) -> None:
        kept.restarts += 1
        kept.keep_layers = True
        kept.phase = Phase.WAITING
        wait = backoff_seconds(kept.failures)
        say(f"{kept.instance_id} ended with {kept.exit_code}; starting it again in {wait:g} s")
        kept.timer = self._loop.after(wait, partial(self._enqueue, kept))
        self._memory.changed()

    def _begin_stop(self, kept: Kept, grace_seconds: float) -> None:
        if kept.phase is Phase.STARTING:
            # Whatever the launcher has made is in the cgroup; its silence will tell the rest.
            kept.phase = Phase.STOPPING
            send_signal(kept.launcher, signal.SIGKILL)
            self._clearing.begin(kept.instance_id, removes=False)
        elif kept.phase is Phase.RUNNING:
            kept.phase = Phase.STOPPING
            self._stopping.terminate(kept, grace_seconds)
        elif kept.phase is not Phase.STOPPING:
            kept.drop_timer()
            kept.phase = Phase.STOPPING
            self._clearing.begin(kept.instance_id, partial(self._settle, kept), removes=False)

    def _settle_if_gone(self, kept: Kept) -> None:
        """Of new code that took over in the middle of clearing nobody else knows that it is over."""
        if kept.phase is Phase.STOPPING and not kept.pid:
            self._settle(kept)

    def _settle(self, kept: Kept) -> None:
        """An instance that will not be started again by itself: no route to it, and everybody is told."""
        if kept.phase is Phase.STOPPING:
            kept.phase = Phase.ENDED
        disconnect(self._config, kept)
        self._tell_end(kept)
        self._memory.changed()
        if kept.wanted and kept.on_start:
            self._begin_anew(kept)
            self._enqueue(kept)
        for listener in [] if kept.wanted else taken(kept.on_start):
            listener.tell(
                {"ok": False, "code": "host", "message": f"{kept.instance_id} was stopped"}
            )
        self._tell_all_ended()

    def _begin_anew(self, kept: Kept) -> None:
        """Somebody asks for it: what was before does not count any more."""
        kept.ending, kept.proven = None, False
        drop_ending(InstanceDirectory.of(self._config.state_dir, kept.instance_id))

    # Small parts -----------------------------------------------------------------------------

    def _get(self, instance_id: str) -> Kept:
        kept = self._kept.get(instance_id)
        if kept is None:
            directory = InstanceDirectory.of(self._config.state_dir, instance_id)
            if not directory.exists():
                raise InputError(f"{instance_id} is not on this host", instance_id=instance_id)
            directory.make_fifos()
            kept = self._kept[instance_id] = Kept(instance_id, LogReader(directory))
            kept.logs.listen(self._loop)
        return kept

    def _note_stuck(self, instance_id: str, pids: tuple[int, ...]) -> None:
        if kept := self._kept.get(instance_id):
            kept.note_stuck(pids)

    def _note_content(self, instance_id: str) -> None:
        """What a tenant has emptied itself is empty by its will: its next start needs to know."""
        record = InstanceDirectory.of(self._config.state_dir, instance_id).read_or_none()
        if record and record.spec.volume:
            Spaces(self._config.state_dir).note_content(record.spec.volume)

    def _tell_end(self, kept: Kept) -> None:
        for listener in taken(kept.on_end):
            listener.tell({"ok": True, "ended": kept.instance_id, "exit_code": kept.exit_code})

    def _tell_all_ended(self) -> None:
        if all(kept.phase is Phase.ENDED for kept in self._kept.values()):
            for listener in taken(self._on_all_ended):
                listener.tell({"ok": True, "ended": "all", "exit_code": None})

    def _started(self, kept: Kept) -> dict[str, object]:
        return {"ok": True, "pid": kept.pid, "timings_ms": kept.timings_ms}

    def _facts(self) -> dict[str, dict[str, object]]:
        return {name: kept.facts() for name, kept in self._kept.items()}
