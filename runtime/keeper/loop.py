"""One thread, one selector, one heap of timers: all the keeper's waiting is done here."""

import heapq
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from runtime.keeper.processes import say

Handler = Callable[[], None]
_AGAIN_SECONDS = 1.0


@dataclass(order=True, slots=True)
class Timer:
    """A call to be made at a time (seconds of the monotonic clock); set cancelled to drop it."""

    at: float
    number: int
    call: Handler = field(compare=False)
    cancelled: bool = field(default=False, compare=False)


class Loop:
    """Calls handlers when their descriptors are ready and when their time has come."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        # Descriptors whose handlers have just failed: watched again when these fire.
        self._paused: dict[int, Timer] = {}
        self._count = 0
        self._running = True

    def watch(self, fd: int, handler: Handler, *, events: int = selectors.EVENT_READ) -> None:
        """Call handler whenever fd is ready; replaces an earlier watch of the same descriptor."""
        self._paused.pop(fd, None)
        try:
            self._selector.register(fd, events, handler)
        except KeyError:
            self._selector.modify(fd, events, handler)

    def forget(self, fd: int) -> None:
        """No longer watch fd; call before closing it. Calm when it was not watched."""
        if paused := self._paused.pop(fd, None):
            paused.cancelled = True
        with suppress(KeyError):
            self._selector.unregister(fd)

    def after(self, seconds: float, call: Handler) -> Timer:
        """Make a call once, after a delay."""
        self._count += 1
        timer = Timer(self.clock() + seconds, self._count, call)
        heapq.heappush(self._timers, timer)
        return timer

    def stop(self) -> None:
        """End run() after the handler that is being called."""
        self._running = False

    def run(self) -> None:
        """Serve until stop()."""
        self._running = True
        while self._running:
            self.turn(self._patience())

    def turn(self, patience: float | None) -> None:
        """Wait at most that long for a descriptor, and make every call that is due."""
        for key, _events in self._selector.select(patience):
            if not _called(key.data):
                # It would be called again at once, and fail again.
                self.forget(key.fd)
                again = partial(self.watch, key.fd, key.data, events=key.events)
                self._paused[key.fd] = self.after(_AGAIN_SECONDS, again)
        self._fire()

    def _patience(self) -> float | None:
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, self._timers[0].at - self.clock())

    def _fire(self) -> None:
        now = self.clock()
        while self._timers and self._timers[0].at <= now:
            timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                _called(timer.call)


def _called(handler: Handler) -> bool:
    """Return whether it did its work. What goes wrong for one instance must not end the keeper of all."""
    try:
        handler()
    except Exception as error:  # noqa: BLE001 - said, with its place, and everything else goes on
        say(f"a part of the keeper's work failed: {error!r} {place_of(error)}")
        return False
    return True


def place_of(error: BaseException) -> str:
    """Return where an error was raised; `traceback` would cost the keeper a megabyte."""
    trace, places = error.__traceback__, []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " > ".join(places)
