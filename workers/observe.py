"""Reads what hosts and edges report and writes down only what changed.

Who speaks is known by the key, which the broker lets only that agent write. A report's age is
measured on the broker's clock, from the time its key has left, so no two machines' clocks are compared.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from ipaddress import IPv4Network

from django.db import DataError, connection, transaction

from runtime.errors import SpecInvalidError
from runtime.units import Sample, UsageWindow
from runtime.wire import JsonValue, from_wire
from tenants.models import Edge, Host, HostReport, HostUsage
from tenants.services import events
from workers import queues
from workers.broker import broker
from workers.calls import MAX_ANSWER_BYTES, REPORT_LIVES_SECONDS
from workers.periodic import once

# A heartbeat alone is not worth a write at each round: fresh enough to tell who is there.
REWRITE_AFTER = timedelta(seconds=3)
MOST_CONDITIONS = 10
USAGE_WINDOW = timedelta(minutes=5)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heard:
    """A report as it was found: its fields, and when it was made by the database's clock."""

    seen_at: datetime
    fields: Mapping[str, JsonValue]

    def text(self, name: str) -> str:
        """A field that must be text of at most 64 characters; SpecInvalidError."""
        value = self.fields.get(name)
        if not isinstance(value, str) or len(value) > 64:
            raise SpecInvalidError(f"{name} must be text", field=name)
        return value

    def number(self, name: str, within: str = "") -> int:
        """A field, or a field of the object `within`, that must be a whole number; SpecInvalidError."""
        value: object = self.fields.get(within) if within else self.fields
        value = value.get(name) if isinstance(value, dict | Mapping) else None
        if type(value) is not int or not 0 <= value < 2**53:
            raise SpecInvalidError(f"{name} must be a whole number", field=name)
        return value


@once("observe")
def observe() -> str:
    """One round over all hosts and edges."""
    hosts = list(Host.objects.select_related("report"))
    edges = list(Edge.objects.all())
    queue_names = [queues.host_queue(host.name) for host in hosts]
    queue_names += [queues.edge_queue(edge.name) for edge in edges]
    heard = _listen(queue_names)
    for host in hosts:
        report = heard.get(queues.host_queue(host.name))
        if report is not None:
            _guarded(host.name, partial(_note_host, host, report))
    for edge in edges:
        report = heard.get(queues.edge_queue(edge.name))
        if report is not None:
            _guarded(edge.name, partial(_note_edge, edge, report))
    return f"{len(heard)} of {len(queue_names)} heard"


def _listen(queue_names: Sequence[str]) -> dict[str, Heard]:
    keys = [queues.report_key(name) for name in queue_names]
    if not keys:
        return {}
    with broker().pipeline(transaction=False) as pipe:
        pipe.mget(keys)
        for key in keys:
            pipe.pttl(key)
        texts, *left = pipe.execute()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
    heard: dict[str, Heard] = {}
    for name, text, left_ms in zip(queue_names, texts, left, strict=True):
        fields = _parsed(text)
        if fields is not None and left_ms > 0:
            age = timedelta(seconds=max(0.0, REPORT_LIVES_SECONDS - left_ms / 1000))
            heard[name] = Heard(seen_at=now - age, fields=fields)
    return heard


def _parsed(text: bytes | None) -> Mapping[str, JsonValue] | None:
    if text is None or len(text) > MAX_ANSWER_BYTES:
        return None
    try:
        fields = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and fields.get("v") == 1 else None


def _refused(constant: str) -> None:
    """NaN and its like are no JSON; the database would refuse them later."""
    raise ValueError(constant)


def _guarded(name: str, note: Callable[[], None]) -> None:
    """One agent that talks nonsense must not hide the others."""
    try:
        note()
    except SpecInvalidError as error:
        log.warning("report of %s not understood: %s", name, error.message)
    except (DataError, UnicodeError) as error:
        log.warning("report of %s cannot be written down: %s", name, error)


@transaction.atomic
def _note_host(host: Host, heard: Heard) -> None:
    """Heartbeat, inventory and the events of its difference: all of it or nothing."""
    _note_usage(host, heard)
    old: HostReport | None = getattr(host, "report", None)
    digest, boot_id = heard.text("digest"), heard.text("boot_id")
    if old is None:
        inventory = _inventory(heard)
        HostReport.objects.create(
            host=host,
            boot_id=boot_id,
            digest=digest,
            epoch=_epoch(heard),
            inventory=inventory,
            conditions=_conditions(heard),
            seen_at=heard.seen_at,
            **_levels(heard),
        )
        events.record(host, [], inventory, at=heard.seen_at)
        return
    changes: dict[str, object] = {}
    conditions, epoch = _conditions(heard), _epoch(heard)
    if (old.digest, old.boot_id) != (digest, boot_id):
        changes = {"digest": digest, "boot_id": boot_id, "inventory": _inventory(heard)}
        # Locked and read again: what another observer wrote meanwhile must not be counted twice.
        before = HostReport.objects.select_for_update().values_list("inventory", flat=True)
        events.record(host, before.get(pk=old.pk), changes["inventory"], at=heard.seen_at)
    if old.conditions != conditions:
        changes["conditions"] = conditions
    if old.epoch != epoch:
        changes["epoch"] = epoch
    if changes or heard.seen_at - old.seen_at >= REWRITE_AFTER:
        HostReport.objects.filter(pk=old.pk).update(
            seen_at=heard.seen_at, **_levels(heard), **changes
        )


def _levels(heard: Heard) -> dict[str, int]:
    return {
        "sequence": heard.number("seq"),
        "used_cpu_millis": min(heard.number("cpu_millis", "usage"), 2**31 - 1),
        "used_memory_bytes": heard.number("memory_bytes", "usage"),
        "used_disk_bytes": heard.number("disk_bytes", "usage"),
    }


def _epoch(heard: Heard) -> int | None:
    """The life of the host that it knows; None from agents that know of none."""
    return min(heard.number("epoch"), 2**31 - 1) if "epoch" in heard.fields else None


def _conditions(heard: Heard) -> list[dict[str, str]]:
    """What the host says is wrong with itself; agents from before there were conditions say nothing."""
    told = heard.fields.get("conditions", [])
    if not isinstance(told, list) or len(told) > MOST_CONDITIONS:
        raise SpecInvalidError(
            f"conditions must be a list of at most {MOST_CONDITIONS}", field="conditions"
        )
    found = []
    for one in told:
        words = (one.get("kind"), one.get("message")) if isinstance(one, dict) else ()
        if len(words) != 2 or not all(isinstance(word, str) for word in words):
            raise SpecInvalidError("a condition has a kind and a message", field="conditions")
        found.append({"kind": str(words[0])[:40], "message": str(words[1])[:300]})
    return found


def _inventory(heard: Heard) -> list[JsonValue]:
    inventory = heard.fields.get("inventory")
    if not isinstance(inventory, list):
        raise SpecInvalidError("inventory must be a list", field="inventory")
    return [_storable(entry) for entry in inventory]


def _storable(value: JsonValue) -> JsonValue:
    """A tenant's last words may hold what PostgreSQL takes in no text: NUL and halves of characters."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_storable(one) for one in value]
    if isinstance(value, dict):
        return {str(_storable(key)): _storable(one) for key, one in value.items()}
    return value


def _note_usage(host: Host, heard: Heard) -> None:
    """Keep what was used, one packed row per host and window."""
    samples = heard.fields.get("samples")
    if not samples:
        return
    told = heard.fields.get("window")
    if told is None:
        # Shown until the first window comes, but not learnt from when there will be one.
        _note_samples(host, heard.seen_at, samples, is_folded="window" in heard.fields)
        return
    window = from_wire(UsageWindow, told)
    window.check()
    source = f"{heard.text('boot_id')}:{window.number}"
    if _last_window.get(host.pk) == source:
        return
    from_wire(tuple[Sample, ...], samples)
    HostUsage.objects.bulk_create(
        [
            HostUsage(
                host=host,
                at=heard.seen_at - timedelta(seconds=window.age_seconds),
                samples=_storable(samples),
                window=_storable(told),
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
    from_wire(tuple[Sample, ...], samples)
    HostUsage.objects.bulk_create(
        [HostUsage(host=host, at=start, samples=_storable(samples), is_folded=is_folded)],
        ignore_conflicts=True,
    )
    _last_window[host.pk] = start


# Which window of a host was written last, so that it is not asked of the database at each round.
_last_window: dict[int, datetime | str] = {}


def _note_edge(edge: Edge, heard: Heard) -> None:
    boot_id, digest = heard.text("boot_id"), heard.text("digest")
    applied = heard.number("applied")
    told = {
        "boot_id": boot_id,
        "digest": digest,
        "applied_sequence": applied,
        "is_synced": heard.fields.get("ready") is True,
        "accepts": _accepted(heard.fields.get("accepts")),
        "refused": _sentences(heard.fields.get("refused")),
    }
    differs = any(getattr(edge, name) != value for name, value in told.items())
    if differs or edge.seen_at is None or heard.seen_at - edge.seen_at >= REWRITE_AFTER:
        Edge.objects.filter(pk=edge.pk).update(seen_at=heard.seen_at, **told)


@dataclass(frozen=True, slots=True)
class _Accepts:
    networks: tuple[str, ...]
    ports: tuple[int, int]
    console: str


def _accepted(told: JsonValue) -> dict[str, object]:
    """What an edge says it can serve; {} from an agent that does not say."""
    if told is None:
        return {}
    accepts = from_wire(_Accepts, told)
    try:
        networks = [str(IPv4Network(one)) for one in accepts.networks[:64]]
    except ValueError as error:
        raise SpecInvalidError(f"accepts: {error}", field="accepts") from error
    return {"networks": networks, "ports": [*accepts.ports], "console": accepts.console[:253]}


def _sentences(told: JsonValue) -> list[str]:
    found = from_wire(tuple[str, ...], told or [])
    return [sentence[:300] for sentence in found[:6]]
