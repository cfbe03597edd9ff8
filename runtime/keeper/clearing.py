"""Ends what is left of an instance, without ever waiting for it in the keeper's one thread.

A process in an uninterruptible wait takes no signal, perhaps for hours. It is told about and asked to
end again and again; whatever must not begin beside it waits for its end, and nothing else does.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from runtime.cgroup import Cgroups
from runtime.errors import RuntimeCoreError
from runtime.keeper.loop import Loop
from runtime.keeper.processes import say

STUCK_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 2.0
# The kernel calls a cgroup busy for a moment after its last process ended.
_REMOVING_SECONDS = 3.0

Then = Callable[[], None]


@dataclass(slots=True)
class _Clear:
    began: float
    removes: bool
    thens: list[Then] = field(default_factory=list)
    pause: float = _FIRST_PAUSE_SECONDS
    is_stuck: bool = False


class Clearing:
    """told: is given an instance and its processes that do not die, () once they have."""

    def __init__(
        self, loop: Loop, cgroups: Cgroups, told: Callable[[str, tuple[int, ...]], None]
    ) -> None:
        self._loop = loop
        self._cgroups = cgroups
        self._told = told
        self._going: dict[str, _Clear] = {}

    def begin(self, instance_id: str, then: Then | None = None, *, removes: bool = True) -> None:
        """End every process of an instance, and remove its cgroups where `removes`; then go on.

        `then` is called at once where nothing is left, else as soon as nothing is.
        """
        going = self._going.get(instance_id)
        if going is None:
            self._going[instance_id] = going = _Clear(time.monotonic(), removes)
            going.thens += [then] if then else []
            self._try(instance_id)
            return
        going.removes = going.removes or removes
        going.thens += [then] if then else []

    def _try(self, instance_id: str) -> None:
        going = self._going[instance_id]
        if not self._is_clear(instance_id, going):
            self._loop.after(going.pause, partial(self._try, instance_id))
            going.pause = min(2 * going.pause, _LONGEST_PAUSE_SECONDS)
            return
        del self._going[instance_id]
        if going.is_stuck:
            self._told(instance_id, ())
        for then in going.thens:
            then()

    def _is_clear(self, instance_id: str, going: _Clear) -> bool:
        age = time.monotonic() - going.began
        try:
            left = self._cgroups.kill_once(instance_id)
            if left:
                if age >= STUCK_SECONDS and not going.is_stuck:
                    going.is_stuck = True
                    say(f"{instance_id}: processes {left[:5]} do not die; it is tried again")
                    self._told(instance_id, left)
                return False
            if going.removes:
                self._cgroups.remove(instance_id, deadline_seconds=0.0)
        except (RuntimeCoreError, OSError) as error:
            if age < _REMOVING_SECONDS:
                return False
            say(f"{instance_id} is not cleared: {error}")  # its next start or removal tries again
        return True
