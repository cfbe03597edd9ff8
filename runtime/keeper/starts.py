"""The queue of starts: a few at a time, each in a launcher's own process, so that a host that has
just booted with a thousand shops is busy but not on its knees."""

import json
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from runtime.bundle import InstanceDirectory
from runtime.errors import HostError, InputError, RuntimeCoreError
from runtime.keeper.kept import Kept, Phase
from runtime.keeper.launch import Launcher
from runtime.keeper.loop import Loop

# Starts at the same time: more only make each of them slower.
STARTS_AT_ONCE = 2 * (os.cpu_count() or 1)

# The launcher's line, {} when it was killed before it could write one.
Outcome = dict[str, Any]


class Starts:
    """Begins starts in the order they were asked for, and hands what came of each to `reported`."""

    def __init__(
        self, loop: Loop, launcher: Launcher, reported: Callable[[Kept, Outcome], None]
    ) -> None:
        self._loop = loop
        self._launcher = launcher
        self._reported = reported
        self._queue: deque[Kept] = deque()
        self._running = 0
        self._launchers: dict[int, Kept] = {}
        self._held = False

    def enqueue(self, kept: Kept) -> None:
        """Start an instance as soon as it is its turn."""
        kept.drop_timer()
        kept.phase = Phase.QUEUED
        self._queue.append(kept)
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
        return not self._running and not self._launchers

    def launcher_ended(self, pid: int) -> bool:
        """Note the end of a child; False when it was no launcher."""
        kept = self._launchers.pop(pid, None)
        if kept is None:
            return False
        if kept.launcher == pid:
            kept.launcher = 0
        self._launcher.cgroups.leave(kept.instance_id)
        return True

    def _begin(self) -> None:
        while self._queue and self._running < STARTS_AT_ONCE and not self._held:
            kept = self._queue.popleft()
            if kept.phase is Phase.QUEUED:
                self._begin_one(kept)

    def _begin_one(self, kept: Kept) -> None:
        kept.phase, kept.healthy = Phase.STARTING, False
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
        self._running += 1
        self._launchers[kept.launcher] = kept
        self._loop.watch(report, partial(self._read, kept, report))

    def _read(self, kept: Kept, report: int) -> None:
        """The launcher has written its line, or has died without one."""
        self._loop.forget(report)
        with os.fdopen(report, "rb") as stream:
            line = stream.readline()
        self._running -= 1
        self._reported(kept, json.loads(line) if line.endswith(b"\n") else {})
        self._begin()
