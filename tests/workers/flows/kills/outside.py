"""What lies outside the control plane, in memory: hosts, edges, the repository, the broker, a visitor.

Every call from a flow passes here. So a disturbance acts at exactly one call, the rules are looked at
after each, and what really happened is known whatever the record says.
"""

import pickle
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from django.db import connection

from runtime.driver import Driver
from runtime.errors import HostUnreachableError, OutcomeUnknownError
from runtime.specs import InstanceSpec
from runtime.statuses import ContainerState
from runtime.volume_requests import VolumeLoad, VolumeSave
from tenants.shops.models import Instance
from tests.support.fake_driver import FakeDriver
from tests.support.memory_repository import HELD
from workers.flows.clients import Clients
from workers.rpc.edge_types import EdgeSeat, InFlight, RouteMessage, Spread

BROKER_GONE = "the broker failed: connection refused"
# What changes nothing: not counted among the calls whose answer can be lost.
LOOKS = ("status", "list", "logs", "samples", "images", "volumes_here", "in_flight")

_HEARD = """
WITH hosts AS (
    UPDATE tenants_hostreport SET seen_at = statement_timestamp()
      FROM tenants_host AS host WHERE host.id = host_id AND host.name <> ALL(%s)
)
UPDATE tenants_edge SET seen_at = statement_timestamp()
"""


@dataclass
class Weather:
    """What is away just now, and for how many more rounds of the workers."""

    silent: set[str] = field(default_factory=set)
    is_next_silent: bool = False
    is_edge_silent: bool = False
    is_broker_gone: bool = False
    rounds: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What a visitor left in a shop, and where; at: how many events there were before."""

    name: str
    host: str
    at: int


@dataclass(frozen=True, slots=True)
class Load:
    """A copy that a host made its volume of."""

    snapshot: str
    host: str
    at: int


class Outside:
    """Hosts by name, one edge `local`, and the rules that none of them may break."""

    def __init__(self) -> None:
        self.instance_id = ""
        self.volume = ""
        self.drivers: dict[str, FakeDriver] = {}
        self.at_address: dict[str, str] = {}
        self.weather = Weather()
        self.table: dict[str, tuple[str, int]] = {}
        self.orders: list[Order] = []
        self.loads: list[Load] = []
        self.copies: dict[str, frozenset[str]] = {}
        self.calls: list[tuple[str, str]] = []
        self.violations: list[str] = []
        self.lost: set[str] = set()
        self.may_run_two = False
        self.broker_failed_at = -1.0
        # Called before a call, and after its deed; either may raise what the caller is to meet.
        self.before: Callable[[str, str], None] = lambda _who, _call: None
        self.at_call: Callable[[str, str, str], None] = lambda _who, _call, _when: None
        self.after: Callable[[str, str], None] = lambda _who, _call: None

    # A case begins from a copy of what the scene has left -----------------------------------------

    def state(self) -> bytes:
        """All that a case may change."""
        kept = ("table", "orders", "loads", "copies", "lost")
        drivers = {
            name: {key: value for key, value in vars(driver).items() if key != "_lock"}
            for name, driver in self.drivers.items()
        }
        facts = {name: getattr(self, name) for name in kept}
        return pickle.dumps({"drivers": drivers, "objects": HELD.objects, **facts})

    def restore(self, kept: bytes) -> None:
        """Be again as when the state was taken."""
        state = pickle.loads(kept)  # noqa: S301 - our own, of a moment ago
        for name, facts in state.pop("drivers").items():
            self.drivers[name] = driver = FakeDriver()
            vars(driver).update(facts)
        HELD.objects, HELD.is_away = state.pop("objects"), False
        vars(self).update(state)
        self.weather = Weather()
        self.calls, self.violations = [], []
        self.broker_failed_at = -1.0
        self.before = self.after = lambda _who, _call: None
        self.at_call = lambda _who, _call, _when: None

    # Weather -------------------------------------------------------------------------------------

    def end_of_round(self) -> None:
        """One round of the workers is over; what was away for long enough comes back."""
        self.weather.rounds -= 1
        if self.weather.rounds <= 0:
            HELD.is_away = False
            self.weather = Weather()

    # Hosts ---------------------------------------------------------------------------------------

    @property
    def clients(self) -> Clients:
        """What flows act with."""
        return Clients(
            driver_for=lambda host: cast(Driver, _Wire(self, host.name)),
            edges=_Edges(self),
            look=self._look,
            outage=lambda moment: BROKER_GONE if self.broker_failed_at >= moment else "",
        )

    def running(self) -> list[str]:
        """The hosts on which the instance runs."""
        return [
            name
            for name, driver in self.drivers.items()
            if driver.status(self.instance_id).state is ContainerState.RUNNING
        ]

    def contents(self, host: str) -> dict[str, bytes]:
        """The files of the shop's volume at a host."""
        return self.drivers[host].contents[self.volume]

    def meet(self, who: str, call: str) -> None:
        """A call begins: raise what the weather makes of it."""
        weather = self.weather
        if weather.is_next_silent and who in self.drivers:
            weather.silent.add(who)
            weather.is_next_silent = False
        self.before(who, call)
        if weather.is_broker_gone:
            self.note_broker()
            raise HostUnreachableError("the broker does not answer: connection refused")
        if who in self.lost | weather.silent or (who == "edge" and weather.is_edge_silent):
            raise HostUnreachableError(f"host.{who} last reported 30 s ago")
        self.calls.append((who, call))
        if call not in LOOKS:
            self.at_call(who, call, "before")

    def note_broker(self) -> None:
        """A call has met no broker just now."""
        self.broker_failed_at = time.monotonic()

    def look_for_two(self) -> None:
        """Note where one instance runs twice: no lost host counts, nobody can end what runs there."""
        alive = [name for name in self.running() if name not in self.lost]
        if len(alive) > 1 + self.may_run_two:
            self.violations.append(f"runs on {' and '.join(alive)} at once")

    # A visitor -----------------------------------------------------------------------------------

    def led_to(self, hostname: str) -> str:
        """The host to which the edge leads and where a shop answers; "" for none."""
        address, _, port = self.table.get(hostname, ("", 0))[0].partition("@")[2].partition(":")
        host = self.at_address.get(address, "")
        if not host or host in self.lost:
            return ""
        held = self.drivers[host].list()
        answers = any(str(one.published_port) == port and one.healthy for one in held)
        return host if answers else ""

    def visit(self, name: str, instance: Instance) -> None:
        """Leave an order where the edge leads, if the shop answers there."""
        host = self.led_to(f"{instance.tenant.slug}.localhost")
        if host and self.volume in self.drivers[host].volumes:
            self.contents(host)[name] = name.encode()
            self.orders.append(Order(name, host, self.now()))

    def now(self) -> int:
        """A number that grows with each order and load."""
        return len(self.orders) + len(self.loads)

    def _look(self, _edge: EdgeSeat, hostname: str, _path: str) -> int:
        if self.weather.is_edge_silent:
            return 0
        return 200 if self.led_to(hostname) else 503

    def report(self) -> None:
        """Agents are heard, and the edge takes from the record what it missed, as they do all the time."""
        with connection.cursor() as cursor:
            cursor.execute(_HEARD, [[*self.lost]])
            if self.weather.is_edge_silent:
                return
            cursor.execute("SELECT hostname, value, sequence FROM tenants_route")
            for hostname, value, sequence in cursor.fetchall():
                if sequence > self.table.get(hostname, ("", -1))[1]:
                    self.table[hostname] = (value, sequence)
            newest = max((sequence for _, sequence in self.table.values()), default=0)
            cursor.execute("UPDATE tenants_edge SET applied_sequence = %s", [newest])


@dataclass
class _Wire:
    """A driver as control sees it: every call goes over a broker to a host that may not be there."""

    outside: Outside
    host: str

    def __getattr__(self, call: str) -> Callable[..., Any]:
        outside, host = self.outside, self.host
        method = getattr(outside.drivers[host], call)

        def asked(*args: Any, **more: Any) -> Any:
            outside.meet(host, call)
            had_volume = outside.volume in outside.drivers[host].volumes
            try:
                value = method(*args, **more)
            finally:
                if call == "ensure_running":
                    outside.look_for_two()
            self._note(args[0] if args else None, value, had_volume=had_volume)
            if call not in LOOKS:
                outside.after(host, call)
                outside.at_call(host, call, "after")
            return value

        return asked

    def _note(self, asked: object, value: Any, *, had_volume: bool) -> None:
        outside = self.outside
        if isinstance(asked, VolumeSave) and asked.volume == outside.volume:
            outside.copies[asked.snapshot] = frozenset(outside.contents(self.host))
        elif isinstance(asked, VolumeLoad) and asked.volume == outside.volume and value.snapshot:
            outside.loads.append(Load(value.snapshot, self.host, outside.now()))
        elif isinstance(asked, InstanceSpec) and asked.new_volume and not had_volume:
            outside.loads.append(Load("", self.host, outside.now()))


@dataclass
class _Edges:
    """The one edge `local`. It ignores what is older than what it has, as real ones do."""

    outside: Outside

    def apply(self, edges: Collection[EdgeSeat], routes: Sequence[RouteMessage]) -> Spread:
        """See Edges."""
        ready = [edge.name for edge in edges if edge.is_ready]
        silent = Spread(frozenset(), tuple(f"edge {name}: silent" for name in ready))
        try:
            self.outside.meet("edge", "apply")
        except HostUnreachableError:
            return silent
        for route in routes:
            if route.sequence > self.outside.table.get(route.hostname, ("", -1))[1]:
                self.outside.table[route.hostname] = (route.value, route.sequence)
        try:
            self.outside.after("edge", "apply")
            self.outside.at_call("edge", "apply", "after")
        except OutcomeUnknownError:
            return silent
        return Spread(frozenset(ready), ())

    def in_flight(self, edges: Collection[EdgeSeat], value: str) -> InFlight:
        """See Edges."""
        try:
            self.outside.meet("edge", "in_flight")
        except HostUnreachableError as error:
            return InFlight(0, (error.message,))
        return InFlight(0, ())
