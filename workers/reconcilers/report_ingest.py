"""Reads what hosts and edges report and writes down only what changed.

Who speaks is known by the key, which the broker lets only that agent write. A report's age is
measured on the broker's clock, from the time its key has left, so no two machines' clocks are compared.
So is the age of its inventory: the agent asks the broker for the time before it begins to collect.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from ipaddress import IPv4Network

from django.db import DataError, transaction

from runtime.errors import SpecInvalidError
from runtime.units import Sample, UsageWindow
from runtime.wire import JsonValue, from_wire, storable
from tenants.activity import events
from tenants.core import alarms
from tenants.core.alarm_kinds import REPORT_REFUSED
from tenants.placement.models import Placement
from tenants.pool.models import Edge, Host, HostReport
from tenants.usage.models import HostUsage
from workers.broker import queues
from workers.broker.commands import broker
from workers.leases.periodic import database_now, once
from workers.rpc.client import MAX_ANSWER_BYTES, REPORT_LIVES_SECONDS

# A heartbeat alone is not worth a write at each round: fresh enough to tell who is there.
REWRITE_AFTER = timedelta(seconds=3)
MOST_CONDITIONS = 10
USAGE_WINDOW = timedelta(minutes=5)
# What one answer of the broker may hold: it comes within the second that a read may take.
PORTION_BYTES = 2 * MAX_ANSWER_BYTES
# Beside its own, a host may still hold what it was not yet asked to clear away.
SPARE_ENTRIES = 200
ENTRY_BYTES = 8 * 1024
SAMPLE_BYTES = 1024
# An agent of an older version does not say when it began to collect: no report takes longer.
COLLECTED_WITHIN = timedelta(seconds=20)
# Later than this no agent can have begun; the broker's clock counts the life of a key in milliseconds.
_ROUNDED = timedelta(milliseconds=10)
_OLDEST = timedelta(hours=1)
WINDOW_EVERY = timedelta(minutes=4)  # agents ship one each five minutes, by their own clock
MOST_WINDOW_AGE = timedelta(minutes=15)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AgentReport:
    """A report as it was found: its fields, and when it was made by the database's clock.

    inventory_at: nothing in it was collected before this.
    """

    seen_at: datetime
    inventory_at: datetime
    fields: Mapping[str, JsonValue]

    def text(self, name: str) -> str:
        """Return a field that must be text of at most 64 characters; SpecInvalidError."""
        value = self.fields.get(name)
        if not isinstance(value, str) or len(value) > 64:
            raise SpecInvalidError(f"{name} must be text", field=name)
        return value

    def number(self, name: str, within: str = "") -> int:
        """Return a field, or a field of the object `within`, that must be a whole number;
        SpecInvalidError.
        """
        value: object = self.fields.get(within) if within else self.fields
        value = value.get(name) if isinstance(value, dict | Mapping) else None
        if type(value) is not int or not 0 <= value < 2**53:
            raise SpecInvalidError(f"{name} must be a whole number", field=name)
        return value


@once("observe")
def observe() -> str:
    """Do one round over all hosts and edges."""
    # Without what is large: at 2,000 hosts that would be some hundred megabytes every two seconds.
    hosts = list(Host.objects.select_related("report").defer("load", "report__inventory"))
    edges = list(Edge.objects.all())
    queue_names = [queues.host_queue(host.name) for host in hosts]
    queue_names += [queues.edge_queue(edge.name) for edge in edges]
    heard = _listen(queue_names)
    refused: dict[str, str] = {}
    for host in hosts:
        report = heard.get(queues.host_queue(host.name))
        if report is not None:
            _guarded(refused, "host", host.name, partial(_note_host, host, report))
            _guarded(refused, "usage", host.name, partial(_note_usage, host, report))
    for edge in edges:
        report = heard.get(queues.edge_queue(edge.name))
        if report is not None:
            _guarded(refused, "edge", edge.name, partial(_note_edge, edge, report))
    alarms.keep("report", refused)
    return f"{len(heard)} of {len(queue_names)} heard"


def _listen(queue_names: Sequence[str]) -> dict[str, AgentReport]:
    heard: dict[str, AgentReport] = {}
    for names in _portions(queue_names):
        before = database_now()
        with broker().pipeline(transaction=False) as pipe:
            for name in names:
                pipe.get(queues.report_key(name))
                pipe.pttl(queues.report_key(name))
            answers = pipe.execute(raise_on_error=False)
        seconds, micros = broker().time()
        now = database_now()
        for name, text, left_ms in zip(names, answers[::2], answers[1::2], strict=True):
            fields = _parsed(text)
            if fields is not None and left_ms > 0:
                age = timedelta(seconds=max(0.0, REPORT_LIVES_SECONDS - left_ms / 1000))
                collected = _collected_ago(fields, seconds * 1000 + micros / 1000, age)
                heard[name] = AgentReport(now - age, before - collected, fields)
    return heard


def _collected_ago(fields: Mapping[str, JsonValue], broker_ms: float, age: timedelta) -> timedelta:
    """Return how long ago the agent began to collect what its report, of that age, holds; rather too long."""
    began_ms = fields.get("began_ms")
    if type(began_ms) is int and 0 < began_ms < 2**53:
        ago = timedelta(milliseconds=broker_ms - began_ms)
        if ago >= age - _ROUNDED:
            return min(ago, _OLDEST)
    return age + COLLECTED_WITHIN


def _portions(queue_names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the agents whose report is there and not too large, in portions that fit into one answer."""
    if not queue_names:
        return
    with broker().pipeline(transaction=False) as pipe:
        for name in queue_names:
            pipe.strlen(queues.report_key(name))
        # A key that an agent has made something else than text has no length, and is no report.
        sizes = pipe.execute(raise_on_error=False)
    portion: list[str] = []
    room = PORTION_BYTES
    for name, size in zip(queue_names, sizes, strict=True):
        if not isinstance(size, int) or not 0 < size <= MAX_ANSWER_BYTES:
            continue
        if portion and size > room:
            yield portion
            portion, room = [], PORTION_BYTES
        portion.append(name)
        room -= size
    if portion:
        yield portion


def _parsed(text: object) -> Mapping[str, JsonValue] | None:
    if not isinstance(text, bytes) or len(text) > MAX_ANSWER_BYTES:
        return None
    try:
        fields = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and fields.get("v") == 1 else None


def _refused(constant: str) -> None:
    """NaN and its like are no JSON; the database would refuse them later."""
    raise ValueError(constant)


def _guarded(refused: dict[str, str], part: str, name: str, note: Callable[[], None]) -> None:
    """One agent that talks nonsense must not hide the others; what was refused is an alarm."""
    try:
        note()
    except SpecInvalidError as error:
        words = error.message
    except (DataError, UnicodeError, OverflowError) as error:
        words = str(error)
    else:
        return
    log.warning("report of %s.%s refused: %s", part, name, words)
    refused[REPORT_REFUSED.key(part, name)] = (
        f"the report of {part}.{name} is refused: {words[:300]}"
    )


def _note_host(host: Host, heard: AgentReport) -> None:
    """Heartbeat, and the inventory where it has changed; one that is refused leaves the older in place."""
    old: HostReport | None = getattr(host, "report", None)
    digest, boot_id = heard.text("digest"), heard.text("boot_id")
    facts: dict[str, object] = {"conditions": _conditions(heard), "epoch": _epoch(heard)}
    has_changed = old is None or (old.digest, old.boot_id) != (digest, boot_id)
    refusal = None
    if has_changed:
        try:
            facts |= {"digest": digest, "boot_id": boot_id, "inventory": _inventory(host, heard)}
        except SpecInvalidError as error:
            if old is None:
                raise
            has_changed, refusal = False, error
    if has_changed:
        with transaction.atomic():
            _note_events(host, old, facts["inventory"], at=heard.seen_at)
            _write_host(host, old, heard, facts, has_changed=True, is_refused=False)
    else:
        _write_host(host, old, heard, facts, has_changed=False, is_refused=refusal is not None)
    if refusal is not None:
        raise refusal


def _note_events(host: Host, old: HostReport | None, inventory: object, *, at: datetime) -> None:
    before: object = []
    if old is not None:
        # Locked and read again: what another observer wrote meanwhile must not be counted twice.
        rows = HostReport.objects.select_for_update().values_list("inventory", flat=True)
        before = rows.get(pk=old.pk)
    events.record(host, before, inventory, at=at)


def _write_host(
    host: Host,
    old: HostReport | None,
    heard: AgentReport,
    facts: dict[str, object],
    *,
    has_changed: bool,
    is_refused: bool,
) -> None:
    """facts: what is written at once when it differs; has_changed: it does by its digest, so that the
    inventory of before need not be read. is_refused: an older inventory stays, no younger.
    """
    now: dict[str, object] = {"seen_at": heard.seen_at, **_levels(heard)}
    if not is_refused:
        now["inventory_at"] = heard.inventory_at
    if old is None:
        HostReport.objects.create(host=host, **now, **facts)
        return
    differs = has_changed or any(getattr(old, name) != value for name, value in facts.items())
    if differs or heard.seen_at - old.seen_at >= REWRITE_AFTER:
        HostReport.objects.filter(pk=old.pk).update(**now, **facts)


def _levels(heard: AgentReport) -> dict[str, int]:
    return {
        "sequence": heard.number("seq"),
        "used_cpu_millis": min(heard.number("cpu_millis", "usage"), 2**31 - 1),
        "used_memory_bytes": heard.number("memory_bytes", "usage"),
        "used_disk_bytes": heard.number("disk_bytes", "usage"),
    }


def _epoch(heard: AgentReport) -> int | None:
    """Return the life of the host that it knows; None from agents that know of none."""
    return min(heard.number("epoch"), 2**31 - 1) if "epoch" in heard.fields else None


def _conditions(heard: AgentReport) -> list[dict[str, str]]:
    """Return what the host says is wrong with itself; agents from before there were conditions say
    nothing.
    """
    conditions = heard.fields.get("conditions", [])
    if not isinstance(conditions, list) or len(conditions) > MOST_CONDITIONS:
        raise SpecInvalidError(
            f"conditions must be a list of at most {MOST_CONDITIONS}", field="conditions"
        )
    found = []
    for condition in conditions:
        words = (
            (condition.get("kind"), condition.get("message")) if isinstance(condition, dict) else ()
        )
        if len(words) != 2 or not all(isinstance(word, str) for word in words):
            raise SpecInvalidError("a condition has a kind and a message", field="conditions")
        found.append({"kind": str(words[0])[:40], "message": str(words[1])[:300]})
    return found


def _inventory(host: Host, heard: AgentReport) -> list[JsonValue]:
    inventory = heard.fields.get("inventory")
    if not isinstance(inventory, list):
        raise SpecInvalidError("inventory must be a list", field="inventory")
    _check_share(host, "inventory", inventory, entries=len(inventory), each=ENTRY_BYTES)
    return [storable(entry) for entry in inventory]


def _check_share(host: Host, field: str, value: JsonValue, *, entries: int, each: int) -> None:
    """Refuse what is too much for what the record has on a host; each: bytes. SpecInvalidError."""
    most = Placement.objects.filter(host=host, until__isnull=True).count() + SPARE_ENTRIES
    if entries > most:
        raise SpecInvalidError(f"{field} has {entries} entries; at most {most}", field=field)
    parts = (
        [(element, each) for element in value]
        if isinstance(value, list)
        else [(value, each * entries)]
    )
    for part, bound in parts:
        if len(json.dumps(part)) > bound:
            raise SpecInvalidError(f"{field} has more than {bound} bytes in one place", field=field)


def _note_usage(host: Host, heard: AgentReport) -> None:
    """Keep what was used, one packed row per host and window."""
    samples = heard.fields.get("samples")
    if not samples:
        return
    window_sent = heard.fields.get("window")
    if window_sent is None:
        # Shown until the first window comes, but not learnt from when there will be one.
        _note_samples(host, heard.seen_at, samples, is_folded="window" in heard.fields)
        return
    window = from_wire(UsageWindow, window_sent)
    source = f"{heard.text('boot_id')}:{window.number}"
    if _last_window.get(host.pk) == source:
        return
    window.check()
    entries = len(from_wire(tuple[Sample, ...], samples))
    _check_share(host, "samples", samples, entries=entries, each=SAMPLE_BYTES)
    _check_share(
        host, "window", window_sent, entries=len(window.instance_ids) + 1, each=SAMPLE_BYTES
    )
    at = heard.seen_at - timedelta(seconds=min(window.age_seconds, 1e6))
    if heard.seen_at - at > MOST_WINDOW_AGE:
        return  # what it was is of no use any more
    others = HostUsage.objects.filter(host=host, at__gt=at - WINDOW_EVERY, at__lt=at + WINDOW_EVERY)
    if others.exclude(source="").exclude(source=source).exists():
        raise SpecInvalidError("a window comes sooner after another than any does", field="window")
    HostUsage.objects.bulk_create(
        [
            HostUsage(
                host=host,
                at=at,
                samples=storable(samples),
                window=storable(window_sent),
                source=source,
            )
        ],
        ignore_conflicts=True,
    )
    _last_window[host.pk] = source


def _note_samples(host: Host, seen_at: datetime, samples: JsonValue, *, is_folded: bool) -> None:
    """The last samples of every five minutes, for agents that make no windows or have not made one."""
    window = USAGE_WINDOW.total_seconds()
    start = datetime.fromtimestamp(seen_at.timestamp() // window * window, seen_at.tzinfo)
    if _last_window.get(host.pk) == start:
        return
    entries = len(from_wire(tuple[Sample, ...], samples))
    _check_share(host, "samples", samples, entries=entries, each=SAMPLE_BYTES)
    HostUsage.objects.bulk_create(
        [HostUsage(host=host, at=start, samples=storable(samples), is_folded=is_folded)],
        ignore_conflicts=True,
    )
    _last_window[host.pk] = start


# Which window of a host was written last, so that it is not asked of the database at each round.
_last_window: dict[int, datetime | str] = {}


def _note_edge(edge: Edge, heard: AgentReport) -> None:
    boot_id, digest = heard.text("boot_id"), heard.text("digest")
    applied = heard.number("applied")
    facts = {
        "boot_id": boot_id,
        "digest": digest,
        "applied_sequence": applied,
        "is_synced": heard.fields.get("ready") is True,
        "accepts": _accepted(heard.fields.get("accepts")),
        "refused": _sentences(heard.fields.get("refused")),
    }
    differs = any(getattr(edge, name) != value for name, value in facts.items())
    if differs or edge.seen_at is None or heard.seen_at - edge.seen_at >= REWRITE_AFTER:
        Edge.objects.filter(pk=edge.pk).update(seen_at=heard.seen_at, **facts)


@dataclass(frozen=True, slots=True)
class _Accepts:
    networks: tuple[str, ...]
    ports: tuple[int, int]
    console: str


def _accepted(accepts_sent: JsonValue) -> dict[str, object]:
    """Return what an edge says it can serve; {} from an agent that does not say."""
    if accepts_sent is None:
        return {}
    accepts = from_wire(_Accepts, accepts_sent)
    try:
        networks = [str(IPv4Network(network)) for network in accepts.networks[:64]]
    except ValueError as error:
        raise SpecInvalidError(f"accepts: {error}", field="accepts") from error
    return {"networks": networks, "ports": [*accepts.ports], "console": accepts.console[:253]}


def _sentences(sentences: JsonValue) -> list[str]:
    found = from_wire(tuple[str, ...], sentences or [])
    return [sentence[:300] for sentence in found[:6]]
