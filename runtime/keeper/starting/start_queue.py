"""The queue of starts: a few at a time, each in a launcher's own process, so that a host that has
just booted with a thousand shops is busy but not on its knees."""

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from runtime.bundle import InstanceDirectory
from runtime.errors import HostError, InputError, RuntimeCoreError
from runtime.keeper.loop import Loop
from runtime.keeper.starting.launch import Launcher
from runtime.keeper.supervised import Supervised

# Starts at the same time: more only make each of them slower.
STARTS_AT_ONCE = 2 * (os.cpu_count() or 1)

# The launcher's line, {} when it was killed before it could write one.
Outcome = dict[str, Any]


class Starts:
    """Says whose turn it is, in the order they were asked for, and what came of each start.

    turn: gets an instance that has a place, and calls `launch`. reported: gets the outcome.
    """

    def __init__(
        self,
        loop: Loop,
        launcher: Launcher,
        turn: Callable[[Supervised], None],
        reported: Callable[[Supervised, Outcome], None],
    ) -> None:
        self._loop = loop
        self._launcher = launcher
        self._turn = turn
        self._reported = reported
        self._queue: dict[str, Supervised] = {}
        # Instances whose launchers have a place, and those whose launchers have not ended.
        self._placed: set[str] = set()
        self._launchers: dict[int, Supervised] = {}
        self._held = False

    def enqueue(self, kept: Supervised) -> None:
        """Start an instance as soon as it is its turn."""
        self._queue[kept.instance_id] = kept
        self._begin()

    def leave(self, kept: Supervised) -> None:
        """Give a place in the queue up; no-op without one."""
        self._queue.pop(kept.instance_id, None)

    def give_place(self, kept: Supervised) -> None:
        """A launcher that does not die keeps no others waiting; no-op when it has no place."""
        self._placed.discard(kept.instance_id)
        self._begin()

    def hold(self) -> None:
        """Begin nothing until `release`; what is under way goes on."""
        self._held = True

    def release(self) -> None:
        """Go on where `hold` stopped."""
        self._held = False
        self._begin()

    @property
    def is_quiet(self) -> bool:
        """Whether no launcher is left."""
        return not self._placed and not self._launchers

    def launcher_ended(self, pid: int) -> bool:
        """Note the end of a child; False when it was no launcher."""
        kept = self._launchers.pop(pid, None)
        if kept is None:
            return False
        if kept.launcher == pid:
            kept.launcher = 0
        self._launcher.cgroups.leave(kept.instance_id)
        return True

    def launch(self, kept: Supervised) -> None:
        """Fork the launcher of an instance whose turn it is."""
        kept.healthy = False
        try:
            record = InstanceDirectory.of(self._launcher.config.state_dir, kept.instance_id).read()
            if record is None:
                raise InputError(f"{kept.instance_id} has no record on this host")
            kept.port = record.spec.published_port
            kept.oom_base = self._launcher.cgroups.oom_kills(kept.instance_id)
            kept.launcher, report = self._launcher.fork(record, keep_layers=kept.keep_layers)
        except RuntimeCoreError as error:
            self._reported(kept, {"code": error.code, "message": error.message})
            return
        except OSError as error:
            message = f"the start of {kept.instance_id} cannot begin: {error}"
            self._reported(kept, {"code": HostError.code, "message": message})
            return
        kept.is_launching = True
        self._placed.add(kept.instance_id)
        self._launchers[kept.launcher] = kept
        self._loop.watch(report, partial(self._read, kept, report))

    def _begin(self) -> None:
        while self._queue and len(self._placed) < STARTS_AT_ONCE and not self._held:
            instance_id = next(iter(self._queue))
            self._turn(self._queue.pop(instance_id))

    def _read(self, kept: Supervised, report: int) -> None:
        """The launcher has written its line, or has died without one."""
        self._loop.forget(report)
        with os.fdopen(report, "rb") as stream:
            line = stream.readline()
        kept.is_launching = False
        self._placed.discard(kept.instance_id)
        self._reported(kept, json.loads(line) if line.endswith(b"\n") else {})
        self._begin()
