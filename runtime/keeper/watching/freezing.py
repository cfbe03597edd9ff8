"""Letting a container stand still for a moment, and never for longer.

Whoever asks may be killed the moment after; a container that was forgotten frozen takes no signal and
serves nobody. So it is the keeper that freezes, with a time after which it thaws by itself, and what
an earlier keeper left frozen is thawed first.
"""

import time
from functools import partial

from runtime.cgroup import Cgroups
from runtime.errors import HostError, InputError
from runtime.keeper.loop import Loop, Timer
from runtime.keeper.processes import say
from runtime.keeper.supervised import Listener

MOST_SECONDS = 10.0
# How long a container may take to stand still; a process that waits in the kernel may never do.
STILL_SECONDS = 0.5
_PAUSE_SECONDS = 0.002


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

    def freeze(self, instance_id: str, listener: Listener, *, seconds: float) -> None:
        """Freeze an instance; `thaw` ends that, or the seconds.

        The listener gets an answer once all of it stands still, or an error; then it goes on.
        """
        if not 0 < seconds <= MOST_SECONDS:
            raise InputError(
                f"seconds is {seconds}; it must be above 0 and at most {MOST_SECONDS:g}"
            )
        self.thaw(instance_id)
        timer = self._loop.after(seconds, partial(self._end, instance_id))
        self._frozen[instance_id] = timer
        deadline = self._loop.clock() + min(seconds, STILL_SECONDS)
        self._look(instance_id, listener, timer, deadline)

    def _look(self, instance_id: str, listener: Listener, timer: Timer, deadline: float) -> None:
        is_asked = self._frozen.get(instance_id) is timer
        try:
            is_still = is_asked and self._cgroups.freeze_once(instance_id)
        except OSError as error:
            say(f"{instance_id} cannot be frozen: {error}")
            is_still, deadline = False, 0.0
        if is_still:
            listener.tell({"ok": True, "held": True})
        elif is_asked and self._loop.clock() < deadline:
            again = partial(self._look, instance_id, listener, timer, deadline)
            self._loop.after(_PAUSE_SECONDS, again)
        else:
            if is_asked:
                self.thaw(instance_id)
            message = f"{instance_id} does not stand still within {STILL_SECONDS:g} s; it goes on"
            listener.tell({"ok": False, "code": HostError.code, "message": message})

    def thaw(self, instance_id: str) -> bool:
        """Let it go on; whether it had stood still until now."""
        timer = self._frozen.pop(instance_id, None)
        if timer:
            timer.cancelled = True
            self._thawed_at[instance_id] = time.monotonic()
        self._cgroups.thaw(instance_id)
        return timer is not None

    def was_frozen(self, instance_id: str, since: float) -> bool:
        """Return whether it stood still at some moment since then (monotonic)."""
        return instance_id in self._frozen or self._thawed_at.get(instance_id, since) > since

    def _end(self, instance_id: str) -> None:
        self.thaw(instance_id)
