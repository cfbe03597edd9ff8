"""Ends what is left of an instance, without ever waiting for it in the keeper's one thread.

A process in an uninterruptible wait takes no signal, perhaps for hours. It is reported and sent SIGKILL
again and again; whatever must not begin beside it waits for its end, and nothing else does.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from runtime.cgroup import Cgroups
from runtime.errors import RuntimeCoreError
from runtime.keeper.loop import Loop, Timer
from runtime.keeper.processes import say, send_signal

STUCK_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 2.0
# The kernel calls a cgroup busy for a moment after its last process ended.
_REMOVING_SECONDS = 3.0


@dataclass(slots=True)
class _Clear:
    began: float
    removes: bool
    pause: float = _FIRST_PAUSE_SECONDS
    is_stuck: bool = False
    timer: Timer | None = None


@dataclass(frozen=True, slots=True)
class ClearingHooks:
    """Whom a clearing asks and tells of an instance.

    others: those of its processes that may be outside its cgroup. stuck: gets why they do not end. cleared:
    nothing is left.
    """

    others: Callable[[str], tuple[int, ...]]
    stuck: Callable[[str, str], None]
    cleared: Callable[[str], None]


class Clearing:
    """The instances of which something is being ended."""

    def __init__(self, loop: Loop, cgroups: Cgroups, hooks: ClearingHooks) -> None:
        self._loop = loop
        self._cgroups = cgroups
        self._hooks = hooks
        self._going: dict[str, _Clear] = {}

    def begin(self, instance_id: str, *, removes: bool = False) -> None:
        """End every process of an instance, and remove its cgroups where `removes`.

        Where nothing is left `cleared` is called before this returns. Repeated: tries again now.
        """
        going = self._going.get(instance_id)
        if going is None:
            going = self._going[instance_id] = _Clear(self._loop.clock(), removes)
        going.removes = going.removes or removes
        if going.timer:
            going.timer.cancelled = True
        self._try(instance_id)

    def _try(self, instance_id: str) -> None:
        going = self._going[instance_id]
        age = self._loop.clock() - going.began
        if self._is_clear(instance_id, going, age):
            del self._going[instance_id]
            self._hooks.cleared(instance_id)
            return
        going.timer = self._loop.after(going.pause, partial(self._try, instance_id))
        going.pause = min(2 * going.pause, _LONGEST_PAUSE_SECONDS)

    def _is_clear(self, instance_id: str, going: _Clear, age: float) -> bool:
        try:
            left = self._killed(instance_id)
            why = f"processes {left[:5]} do not die; they wait in the kernel" if left else ""
        except (RuntimeCoreError, OSError) as error:
            why = f"its processes cannot be ended: {error}"
        if why:
            if age >= STUCK_SECONDS and not going.is_stuck:
                going.is_stuck = True
                say(f"{instance_id}: {why}; it is tried again")
                self._hooks.stuck(instance_id, why)
            return False
        return not going.removes or self._is_removed(instance_id, age)

    def _is_removed(self, instance_id: str, age: float) -> bool:
        try:
            self._cgroups.remove(instance_id, deadline_seconds=0.0)
        except (RuntimeCoreError, OSError) as error:
            if age < _REMOVING_SECONDS:
                return False
            say(f"{instance_id} is not cleared: {error}")  # its next start or removal tries again
        return True

    def _killed(self, instance_id: str) -> tuple[int, ...]:
        """Send SIGKILL to the processes that are left; return them."""
        inside = self._cgroups.kill_once(instance_id)
        outside = [pid for pid in self._hooks.others(instance_id) if pid not in inside]
        for pid in outside:
            send_signal(pid, signal.SIGKILL)
        return (*inside, *outside)
