"""Keeps an edge in step by itself: after its start, after a missed change and after HAProxy restarted."""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping

from runtime.edge.edge import FullTable, HaproxyEdge
from runtime.errors import RuntimeCoreError
from runtime.wire import JsonValue

log = logging.getLogger(__name__)

PERIOD_SECONDS = 1.0
GAP_SECONDS = 2.0  # calls may overtake each other; a gap that stays is a change that was missed
BEHIND_SECONDS = 10.0
FETCH_SECONDS = 10.0
REFRESH_SECONDS = 60.0  # a change whose call was lost shows no gap until the next one comes
ROUTES_PER_SECOND = (
    500  # a large table is fetched again less often: at most so many routes a second
)
_LONGEST_PAUSE = 10.0
RENEW_PAUSE_SECONDS = 10.0
MOST_LISTED = 5


class EdgeWatch:
    """A thread beside the calls. `collect` is what the edge's report says."""

    def __init__(self, edge: HaproxyEdge, *, fetch: Callable[[float], FullTable]) -> None:
        self._edge = edge
        self._fetch = fetch
        self._fetched = self._renewed = False
        self._gap_since: float | None = None
        self._pause, self._fetch_at, self._refresh_at = 1.0, 0.0, 0.0
        self._renew_at = 0.0
        self._trouble = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch; the first thing is to fetch the whole table."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and write down what the edge knows."""
        self._stopping.set()
        self._thread.join(FETCH_SECONDS + 2 * PERIOD_SECONDS)
        self._edge.save()

    def collect(self) -> Mapping[str, JsonValue]:
        """Return the changing part of the edge's report. ready: in step with record and HAProxy."""
        gap = self._gap_since
        behind = gap is not None and time.monotonic() - gap > BEHIND_SECONDS
        summary = self._edge.settled_summary()
        return {
            "applied": summary.sequence,
            "digest": summary.digest,
            "count": summary.count,
            "ready": self._fetched and self._edge.is_in_step and not behind,
            "accepts": self._edge.accepts(),
            "refused": self._refused(),
        }

    def _refused(self) -> list[JsonValue]:
        """Some of the routes that this edge had to leave out, as sentences; the last says how many more."""
        found = sorted(self._edge.refused.items())
        refusals: list[JsonValue] = [f"{name}: {why}"[:300] for name, why in found[:MOST_LISTED]]
        more = [f"and {len(found) - MOST_LISTED} more"] if len(found) > MOST_LISTED else []
        return [*refusals, *more]

    def step(self, *, now: float) -> None:
        """Do one round; now is a monotonic time in seconds. Raises what keeps the edge from being in step."""
        if not self._edge.has_gap:
            self._gap_since = None
        elif self._gap_since is None:
            self._gap_since = now
        gap_stays = self._gap_since is not None and now - self._gap_since >= GAP_SECONDS
        wanted = not self._fetched or gap_stays or now >= self._refresh_at
        try:
            if wanted and now >= self._fetch_at:
                self._resync(now)
        finally:
            # Also while the control plane is away: HAProxy may have restarted.
            self._edge.watch(now=now)
            if not self._renewed and now >= self._renew_at:
                self._renew_at = (
                    now + RENEW_PAUSE_SECONDS
                )  # HAProxy may not take it; the old one serves on
                self._edge.renew_proxy()
                self._renewed = True

    def _resync(self, now: float) -> None:
        self._fetch_at = now + self._pause
        self._pause = min(_LONGEST_PAUSE, self._pause * 2)
        held = self._edge.resync(lambda: self._fetch(FETCH_SECONDS)).count
        self._fetched, self._gap_since, self._pause = True, None, 1.0
        # Each edge at its own moment, so that many do not ask at once.
        period = max(REFRESH_SECONDS, held / ROUTES_PER_SECOND)
        self._refresh_at = now + period * random.uniform(0.8, 1.2)  # noqa: S311 - no secret

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD_SECONDS if self._fetched else 0.2):
            try:
                self.step(now=time.monotonic())
                self._note("")
            except RuntimeCoreError as error:
                self._note(error.message)
            except Exception:
                # The watch is what repairs everything else: it must not end.
                log.exception("the watch failed unexpectedly")

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("not in step: %s", trouble)
        elif self._trouble and not trouble:
            log.info("in step again")
        self._trouble = trouble
