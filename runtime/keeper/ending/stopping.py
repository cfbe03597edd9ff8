"""Ending a running container: its signal, its time, then SIGKILL."""

import signal
from collections.abc import Callable
from functools import partial

from runtime import network
from runtime.bundle import InstanceDirectory
from runtime.config import HostConfig
from runtime.errors import RuntimeCoreError
from runtime.keeper.loop import Loop, Timer
from runtime.keeper.processes import (
    heeds,
    is_stopped,
    say,
    send_signal,
    signal_number,
    start_ticks,
    takes,
)
from runtime.keeper.starting.launch import Launcher
from runtime.keeper.supervised import Phase, Supervised

_LOOK_SECONDS = 0.05


class Stopping:
    """kill: ends an instance that had its time."""

    def __init__(self, loop: Loop, launcher: Launcher, kill: Callable[[Supervised], None]) -> None:
        self._loop = loop
        self._launcher = launcher
        self._kill = kill

    def terminate(self, kept: Supervised, grace_seconds: float) -> None:
        """Send the image's stop signal, and SIGKILL after the grace; at once if none heeds it."""
        number = signal_number(self._signal_name(kept.instance_id))
        others = [pid for pid in self._launcher.cgroups.pids(kept.instance_id) if pid != kept.pid]
        signalled: list[int] = []
        if grace_seconds > 0:
            # PID 1 of a namespace gets no signal it does nothing about: a shell that only waits for the
            # program would let it be killed in the middle of a write. So the program itself is signalled.
            signalled = (
                [kept.pid]
                if heeds(kept.pid, number)
                else [pid for pid in others if takes(pid, number)]
            )
        if not signalled:
            self._kill(kept)
            return
        for pid in (kept.pid, *others):
            # First: a stopped process gets the signal only when it goes on. Of several threads that wake
            # with it any may take it, also one that does nothing about it.
            if is_stopped(pid):
                send_signal(pid, signal.SIGCONT)
        for pid in signalled:
            send_signal(pid, number)
        kept.timer = self._loop.after(grace_seconds, partial(self._kill, kept))
        if kept.pid not in signalled:
            self._kill_when_over(kept, kept.timer, {pid: start_ticks(pid) for pid in signalled})

    def _kill_when_over(self, kept: Supervised, timer: Timer, marks: dict[int, int]) -> None:
        """End the rest once the signalled programs have ended, before their time is over."""
        if timer.cancelled or kept.timer is not timer or kept.phase is not Phase.STOPPING:
            return
        if any(ticks and start_ticks(pid) == ticks for pid, ticks in marks.items()):
            self._loop.after(_LOOK_SECONDS, partial(self._kill_when_over, kept, timer, marks))
        else:
            self._kill(kept)

    def _signal_name(self, instance_id: str) -> str:
        directory = InstanceDirectory.of(self._launcher.config.state_dir, instance_id)
        record = directory.read_or_none()
        return record.program.stop_signal if record else "SIGTERM"


def disconnect(config: HostConfig, kept: Supervised) -> None:
    """No route to an instance that has ended and will not be started again by itself."""
    directory = InstanceDirectory.of(config.state_dir, kept.instance_id)
    record = None if kept.port else directory.read_or_none()  # a keeper before us did not note it
    port = record.spec.published_port if record else kept.port
    if not port:
        return
    try:
        network.withdraw(config, port)
    except (RuntimeCoreError, OSError) as error:
        say(f"{kept.instance_id} is not disconnected: {error}")
