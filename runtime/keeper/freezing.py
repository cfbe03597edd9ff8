"""Letting a container stand still for a moment, and never for longer.

Whoever asks may be killed the moment after; a container that was forgotten frozen takes no signal and
serves nobody. So it is the keeper that freezes, with a time after which it thaws by itself, and what
an earlier keeper left frozen is thawed first.
"""

import time
from functools import partial

from runtime.cgroup import Cgroups
from runtime.errors import InputError
from runtime.keeper.loop import Loop, Timer
from runtime.keeper.processes import say

MOST_SECONDS = 10.0


class Freezing:
    """The containers that stand still just now."""

    def __init__(self, loop: Loop, cgroups: Cgroups) -> None:
        self._loop = loop
        self._cgroups = cgroups
        self._frozen: dict[str, Timer] = {}
        self._thawed_at: dict[str, float] = {}
        for instance_id in cgroups.instances():
            try:
                cgroups.thaw(instance_id)
            except OSError as error:
                say(f"{instance_id} cannot be thawed: {error}")

    def freeze(self, instance_id: str, *, seconds: float) -> None:
        """Freeze an instance; it goes on when told to, or after the seconds."""
        if not 0 < seconds <= MOST_SECONDS:
            raise InputError(
                f"seconds is {seconds}; it must be above 0 and at most {MOST_SECONDS:g}"
            )
        self.thaw(instance_id)
        self._frozen[instance_id] = self._loop.after(seconds, partial(self._end, instance_id))
        self._cgroups.freeze(instance_id)

    def thaw(self, instance_id: str) -> bool:
        """Let it go on; whether it had stood still until now."""
        timer = self._frozen.pop(instance_id, None)
        if timer:
            timer.cancelled = True
            self._thawed_at[instance_id] = time.monotonic()
        self._cgroups.thaw(instance_id)
        return timer is not None

    def was_frozen(self, instance_id: str, since: float) -> bool:
        """Whether it stood still at some moment since then (monotonic)."""
        return instance_id in self._frozen or self._thawed_at.get(instance_id, since) > since

    def _end(self, instance_id: str) -> None:
        self.thaw(instance_id)
