"""One edge at work: its table in memory, its files on disk and HAProxy's map, kept the same.

The table is the edge's truth. Before every change HAProxy's process id is checked: a restarted HAProxy
begins with the map file, which may be some seconds old.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from runtime.edge import install, probe
from runtime.edge.config import EdgeConfig
from runtime.edge.door import IN_STEP_VARIABLE
from runtime.edge.haproxy_cfg import SERVING_TABLE
from runtime.edge.haproxy_socket import HaproxySocket, entries_of, rewrite_is_cheaper
from runtime.edge.routes import (
    EdgeRoute,
    MapChanges,
    RouteTable,
    check_value,
    diff,
    digest,
    sort_out,
)
from runtime.edge.store import RouteStore, write_atomically, write_map
from runtime.errors import CommandFailedError, HostError, RuntimeCoreError, SpecInvalidError
from runtime.wire import JsonValue

log = logging.getLogger(__name__)

SAVE_SECONDS = 5.0
COMPARE_SECONDS = 60.0
SETTLED_SECONDS = 5.0
LARGE_TABLE = 5000


@dataclass(frozen=True, slots=True)
class FullTable:
    """All routes as the control plane had them at a sequence; digest as routes.digest works it out."""

    sequence: int
    digest: str
    routes: tuple[EdgeRoute, ...]

    def sort_out(self, config: EdgeConfig) -> tuple[list[EdgeRoute], dict[str, SpecInvalidError]]:
        """As routes.sort_out; HostError for a table that is damaged."""
        found = digest(self.routes)
        if found != self.digest:
            raise HostError(f"the route table's digest is {found}, announced was {self.digest}")
        return sort_out(self.routes, config)


@dataclass(frozen=True, slots=True)
class Summary:
    """What an edge holds: every change up to sequence, count routes with this digest."""

    sequence: int
    digest: str
    count: int


class HaproxyEdge:
    """Applies routes. Thread-safe: one change at a time, in the order they come."""

    def __init__(
        self,
        config: EdgeConfig,
        *,
        on_change: Callable[[Collection[str]], None] | None = None,
    ) -> None:
        self._config = config
        self._proxy = HaproxySocket(config.socket_path, config.master_path)
        self._store = RouteStore(config.state_dir)
        self._on_change = on_change or (lambda _hostnames: None)
        self._lock = threading.RLock()
        self._resyncing = threading.Lock()
        kept = self._store.load()
        self._table = RouteTable() if kept is None else kept
        self._in_step_with = 0  # process id of the HAProxy whose map equals the table; 0 = none
        self._saved_at = self._compared_at = 0.0
        self._unsaved = False
        self._changed_at = 0.0
        self._digest = ""
        self._refused: dict[str, str] = {}  # hostname → why this edge cannot serve its route

    def lookup(self, hostname: str) -> str:
        """Return the value of a hostname's route; "" when there is none."""
        with self._lock:
            return self._table.get(hostname)

    @property
    def has_gap(self) -> bool:
        """Return whether a change is known to have been missed."""
        return self._table.has_gap

    @property
    def is_in_step(self) -> bool:
        """Return whether HAProxy answered last time and its map equals the table."""
        return bool(self._in_step_with)

    def apply(self, routes: Iterable[EdgeRoute]) -> int:
        """Take in changes; returns once HAProxy serves them. Gives the sequence all is known up to.

        Raises SpecInvalidError for a route this edge cannot serve, once the others are applied and that
        hostname is withdrawn, and HostError while HAProxy is away: the change is kept and repeating the
        call brings it in.
        """
        checked, refused = sort_out(routes, self._config)
        with self._lock:
            self._note_refused(checked, refused)
            changes = self._table.apply(checked)
            self._store.append(checked)
            self._noted()
            try:
                self._bring_to_proxy(changes)
            finally:
                self._on_change([route.hostname for route in checked])
            for error in refused.values():
                raise error
            return self._table.sequence

    @property
    def refused(self) -> dict[str, str]:
        """Hostnames whose routes this edge cannot serve, with the reason."""
        with self._lock:
            return dict(self._refused)

    def _note_refused(
        self, routes: Iterable[EdgeRoute], refused: dict[str, SpecInvalidError]
    ) -> None:
        for route in routes:
            self._refused.pop(route.hostname, None)
        for hostname, error in refused.items():
            self._refused[hostname] = error.message
            log.warning("the route of %s is left out: %s", hostname[:253], error.message)

    def resync(self, fetch: Callable[[], FullTable]) -> Summary:
        """Fetch the full table and put it in place of what is here; HostError when it cannot be had.

        With HAProxy away the table is taken all the same: watch brings it there.
        """
        with self._resyncing:
            with self._lock:
                self._table.expect_replacement()
            full = fetch()
            routes, refused = full.sort_out(self._config)
            with self._lock:
                self._refused.clear()
                self._note_refused((), refused)
                changes = self._table.replace(routes, sequence=full.sequence)
                self._noted()
                self.save()
                log.info("route table fetched: %d routes at %d", len(self._table), full.sequence)
                self._in_step_with = 0  # compare the whole map: so much may be new
                try:
                    self._bring_to_proxy(MapChanges())
                except HostError as error:
                    log.warning("the new table waits for HAProxy: %s", error.message)
                self._on_change([*dict(changes.add), *dict(changes.change), *changes.delete])
                return self.summary()

    def accepts(self) -> dict[str, JsonValue]:
        """Return which routes this edge can serve, so that it gets no others."""
        return {
            "networks": [str(network) for network in self._config.networks],
            "ports": [self._config.ports.start, self._config.ports.stop - 1],
            "console": self._config.console_host,
        }

    def in_flight(self, values: Collection[str]) -> dict[str, int]:
        """Return how many requests of each route value are in flight; held ones are not counted.

        Without a look at our own table: what is asked for is mostly a route that is over.
        """
        for value in values:
            check_value(value, self._config)
        return self._proxy.in_flight(SERVING_TABLE, tuple(values))

    def reached(self, places: tuple[probe.ProbeTarget, ...], *, seconds: float) -> tuple[str, ...]:
        """Return which hosts' probe ports took a connection from here within the seconds."""
        probe.check_places(places, self._config)
        return probe.reachable(places, seconds=seconds)

    def summary(self) -> Summary:
        """Return a summary of this edge's table, to compare with the database."""
        with self._lock:
            self._digest = self._digest or self._table.digest()
            return Summary(self._table.sequence, self._digest, len(self._table))

    def settled_summary(self) -> Summary:
        """As summary, but the digest is "" while a large table keeps changing: it is not worth its time."""
        with self._lock:
            settled = time.monotonic() - self._changed_at >= SETTLED_SECONDS
            if self._digest or settled or len(self._table) <= LARGE_TABLE:
                return self.summary()
            return Summary(self._table.sequence, "", len(self._table))

    def watch(self, *, now: float | None = None) -> None:
        """To be called every second: follow a restarted HAProxy, compare maps, save what changed.

        HAProxy learns when all is well: outside balancers ask it, not us.

        Raises RuntimeCoreError while HAProxy is away.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            if self._unsaved and now - self._saved_at >= SAVE_SECONDS:
                self.save(now=now)
            if now - self._compared_at >= COMPARE_SECONDS:
                self._in_step_with = 0
                self._compared_at = now
            self._bring_to_proxy(MapChanges())
        if not self.has_gap:
            self._proxy.note_time(IN_STEP_VARIABLE)

    def renew_proxy(self) -> None:
        """Bring this code's and these settings' configuration to the HAProxy that runs, without a refused
        visit; nothing where it has them. Raises RuntimeCoreError while it cannot.
        """
        with self._lock:  # a change that came meanwhile would reach the old worker alone
            if not install.is_loaded(self._config):
                self.save()  # the new worker begins with this file
                install.reload(self._config, self._proxy)
                log.info("HAProxy runs with its new configuration")
                self._bring_to_proxy(MapChanges())
        # For bin/up, which waits for this process to have done it.
        write_atomically(self._config.state_dir / "renewed", str(os.getpid()))

    def save(self, *, now: float | None = None) -> None:
        """Write table and map file to disk now."""
        with self._lock:
            self._store.save(self._table)
            write_map(self._config.map_path, self._table.wanted())
            self._saved_at = time.monotonic() if now is None else now
            self._unsaved = False

    def _noted(self) -> None:
        self._unsaved = True
        self._changed_at = time.monotonic()
        self._digest = ""  # a version may rise without a change of the map

    def _bring_to_proxy(self, changes: MapChanges) -> None:
        try:
            process = self._proxy.process_id()
            if process != self._in_step_with:
                self._make_equal(process)
            elif changes:
                self._change(changes)
        except CommandFailedError as error:
            # The map is not what we thought: one look at all of it settles that.
            log.warning("comparing HAProxy's whole map: %s", error.message)
            self._in_step_with = 0
            self._make_equal(self._proxy.process_id())
        except RuntimeCoreError:
            self._in_step_with = 0
            raise

    def _make_equal(self, process: int) -> None:
        self._in_step_with = 0
        changes = self._difference()
        if changes:
            log.info("bringing HAProxy's map up to date: %d entries differ", len(changes))
            self._change(changes)
            if left := self._difference():
                raise HostError(f"HAProxy's map still differs in {len(left)} entries after repair")
        self._in_step_with = process

    def _difference(self) -> MapChanges:
        actual = self._proxy.show_map(self._config.map_path)
        return diff(self._table.wanted(), actual)

    def _change(self, changes: MapChanges) -> None:
        if rewrite_is_cheaper(changes):
            self._proxy.replace_map(self._config.map_path, entries_of(self._table.wanted()))
        else:
            self._proxy.change_map(self._config.map_path, changes)
