"""One thread, one selector, one heap of timers: all the keeper's waiting is done here."""

import heapq
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

Handler = Callable[[], None]


@dataclass(order=True, slots=True)
class Timer:
    """A call to be made at a time (seconds of the monotonic clock); set cancelled to drop it."""

    at: float
    number: int
    call: Handler = field(compare=False)
    cancelled: bool = field(default=False, compare=False)


class Loop:
    """Calls handlers when their descriptors are ready and when their time has come."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._count = 0
        self._running = True

    def watch(self, fd: int, handler: Handler, *, events: int = selectors.EVENT_READ) -> None:
        """Call handler whenever fd is ready; replaces an earlier watch of the same descriptor."""
        try:
            self._selector.register(fd, events, handler)
        except KeyError:
            self._selector.modify(fd, events, handler)

    def forget(self, fd: int) -> None:
        """No longer watch fd; call before closing it. Calm when it was not watched."""
        with suppress(KeyError):
            self._selector.unregister(fd)

    def after(self, seconds: float, call: Handler) -> Timer:
        """Make a call once, after a delay."""
        self._count += 1
        timer = Timer(time.monotonic() + seconds, self._count, call)
        heapq.heappush(self._timers, timer)
        return timer

    def stop(self) -> None:
        """End run() after the handler that is being called."""
        self._running = False

    def run(self) -> None:
        """Serve until stop()."""
        while self._running:
            for key, _events in self._selector.select(self._patience()):
                handler: Handler = key.data
                handler()
            self._fire()

    def _patience(self) -> float | None:
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, self._timers[0].at - time.monotonic())

    def _fire(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].at <= now:
            timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                timer.call()
