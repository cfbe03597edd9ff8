"""The keeper's work: begin starts, note ends, start again what fell, stop what clients stop.

All of it runs in one thread; whatever may take long happens in the launcher's own process. What may
happen when is one table, states.py.
"""

import os
import time
from collections.abc import Callable

from runtime.bundle import InstanceDirectory, instance_ids
from runtime.errors import InputError, RuntimeCoreError
from runtime.keeper.ending.exit_records import read_ending
from runtime.keeper.lifecycle import Lifecycle
from runtime.keeper.logs import LogReader
from runtime.keeper.loop import Loop
from runtime.keeper.processes import ended_children, say
from runtime.keeper.renewing import handover
from runtime.keeper.renewing.state_file import Memory, found_on_disk
from runtime.keeper.starting.launch import Launcher
from runtime.keeper.states import Event, News
from runtime.keeper.supervised import Listener, Phase, Supervised, taken

# Where nothing can be done for an instance's end any more by this keeper.
_SETTLED = frozenset({Phase.ENDED, Phase.STUCK})


class Keeper:
    """Every instance of this host, from its directory on disk to its process."""

    def __init__(self, loop: Loop, launcher: Launcher) -> None:
        self._loop = loop
        self._launcher = launcher
        self._config = launcher.config
        self._kept: dict[str, Supervised] = {}
        self._memory = Memory(loop, self._config.state_dir / "keeper.json", self._facts)
        self._lifecycle = Lifecycle(
            loop, launcher, self._kept, self._memory.changed, self._tell_all_ended
        )
        self.starts = self._lifecycle.starts
        self.other_children = self._lifecycle.other_children
        self._on_all_ended: list[Listener] = []

    # What clients ask ------------------------------------------------------------------------

    def start(self, instance_id: str, listener: Listener, *, keep_layers: bool) -> None:
        """Start an instance from its record on disk; the listener gets an answer when crun has done its part.

        Running already: an answer at once. Another one comes when the container ends.
        """
        kept = self._get(instance_id)
        kept.wanted = True
        kept.on_start.append(listener)
        self._lifecycle.fire(kept, Event.START, News(keep_layers=keep_layers))

    def stop(self, instance_id: str, listener: Listener, *, grace_seconds: float) -> None:
        """End an instance's container and keep it ended; the listener gets an answer once it has ended."""
        kept = self._get(instance_id)
        kept.wanted = False
        kept.on_end.append(listener)
        self._lifecycle.fire(kept, Event.STOP, News(grace_seconds=grace_seconds))

    def confirm(self, instance_id: str) -> None:
        """The instance answers its health path: from now on its end is an accident."""
        kept = self._get(instance_id)
        if kept.phase is Phase.RUNNING:
            kept.proven = kept.healthy = True
            self._memory.changed()

    def running(self) -> list[Supervised]:
        """Return what runs now."""
        return [kept for kept in self._kept.values() if kept.phase is Phase.RUNNING]

    def note_health(self, kept: Supervised, *, is_well: bool) -> None:
        """The health watch has changed its mind about what runs."""
        kept.healthy = is_well
        self._memory.changed()

    def forget(self, instance_id: str) -> None:
        """Let go of an ended instance's descriptors and facts; no-op when it was not known."""
        if kept := self._kept.get(instance_id):
            self._lifecycle.fire(kept, Event.FORGET)

    def status(self, instance_id: str | None = None) -> list[dict[str, object]]:
        """Return the state of one or all instances, ordered by id; nothing for one that is not known."""
        uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
        chosen = [instance_id] if instance_id else sorted(self._kept)
        return [self._kept[name].shown(uptime) for name in chosen if name in self._kept]

    def stop_all(self, listener: Listener, *, grace_seconds: float) -> None:
        """End every container, on disk everything stays wanted; the listener gets an answer when all have.

        What cannot be ended is left to the next keeper.
        """
        self._on_all_ended.append(listener)
        for kept in self._kept.values():
            kept.wanted = False
            if kept.phase is not Phase.ENDED:
                self._lifecycle.fire(kept, Event.STOP, News(grace_seconds=grace_seconds))
        self._tell_all_ended()

    def remember(self) -> None:
        """Write down what must survive, now."""
        self._memory.write()

    def reap(self) -> None:
        """Collect every child that has ended: containers, launchers."""
        for pid, status in ended_children():
            self._lifecycle.child_ended(pid, status)

    # From one code to the next ---------------------------------------------------------------

    @property
    def is_stopping(self) -> bool:
        """Whether somebody waits for the end of every container."""
        return bool(self._on_all_ended)

    def hand_over(self, number_of: Callable[[Listener], int]) -> handover.State:
        """Return all that new code has to know to go on; see handover.handed."""
        instances = {name: handover.handed(kept, number_of) for name, kept in self._kept.items()}
        return {"instances": instances, "unclaimed": [*self._lifecycle.unclaimed.items()]}

    def take_over(self, state: handover.State, listeners: list[Listener]) -> None:
        """Go on where other code has stopped; listeners: by their number there."""
        self._lifecycle.unclaimed.update(state["unclaimed"])
        for name, handed in state["instances"].items():
            directory = InstanceDirectory.of(self._config.state_dir, name)
            kept = self._kept[name] = handover.taken_over(directory, handed, listeners)
            kept.logs.listen(self._loop)
            self._lifecycle.go_on(kept, handed["wait"])
        self._memory.changed()

    # From the disk ---------------------------------------------------------------------------

    def resume(self) -> None:
        """Take up what an earlier keeper left: adopt what still runs, start what should run, end the rest."""
        remembered = self._memory.load()
        known = instance_ids(self._config.state_dir)
        for stray in set(self._launcher.cgroups.instances()) - set(known):
            self._lifecycle.clearing.begin(stray, removes=True)
        # After a reboot all of them queue: first what was well, last what crashed again and again.
        for instance_id in sorted(
            known, key=lambda name: remembered.get(name, {}).get("failures", 0)
        ):
            try:
                self._resume_one(instance_id, remembered.get(instance_id, {}))
            except (RuntimeCoreError, OSError) as error:
                say(f"{instance_id} is left alone: {error}")

    def _resume_one(self, instance_id: str, facts: dict[str, int]) -> None:
        directory = InstanceDirectory.of(self._config.state_dir, instance_id)
        inside = self._launcher.cgroups.pids(instance_id)
        found = found_on_disk(directory, facts, inside)
        if found is None:
            # Its removal was cut short; the agent will be asked to repeat it.
            self._lifecycle.clearing.begin(instance_id, removes=True)
            return
        kept = self._get(instance_id)
        kept.recall(facts)
        kept.port = kept.port or found.port
        kept.ending = read_ending(directory)
        kept.wanted = found.is_wanted
        # Whoever asked for it has gone; whether it had answered may have been lost with the power.
        kept.proven = kept.proven or kept.wanted
        pidfd = _opened(found.pid)
        if pidfd >= 0:
            kept.healthy = bool(facts.get("healthy")) and found.is_wanted
            self._lifecycle.fire(kept, Event.ADOPT, News(pid=found.pid, pidfd=pidfd))
        self._resume_known(kept, is_left=bool(inside))

    def _resume_known(self, kept: Supervised, *, is_left: bool) -> None:
        """Adopted or not: what is not wanted is ended as any other is, so that its end is seen."""
        if not kept.wanted:
            if kept.pid or is_left:
                self._lifecycle.fire(kept, Event.STOP)
            self._lifecycle.clearing.begin(kept.instance_id, removes=True)
        elif kept.pid:
            say(f"{kept.instance_id} still runs as process {kept.pid}")
        else:
            kept.keep_layers = True
            self._lifecycle.fire(kept, Event.RESUME)

    # Small parts -----------------------------------------------------------------------------

    def _get(self, instance_id: str) -> Supervised:
        kept = self._kept.get(instance_id)
        if kept is None:
            directory = InstanceDirectory.of(self._config.state_dir, instance_id)
            if not directory.exists():
                raise InputError(f"{instance_id} is not on this host", instance_id=instance_id)
            directory.make_fifos()
            kept = self._kept[instance_id] = Supervised(instance_id, LogReader(directory))
            kept.logs.listen(self._loop)
        return kept

    def _tell_all_ended(self) -> None:
        if all(kept.phase in _SETTLED for kept in self._kept.values()):
            for listener in taken(self._on_all_ended):
                listener.tell({"ok": True, "ended": "all", "exit_code": None})

    def _facts(self) -> dict[str, dict[str, object]]:
        return {name: kept.facts() for name, kept in self._kept.items()}


def _opened(pid: int) -> int:
    """Return a descriptor that tells the end of a process that is not our child; -1 when it has ended."""
    try:
        return os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        return -1
