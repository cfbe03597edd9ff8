"""What happened between two reports of a host becomes events, each once, whoever dies in between."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants.activity import events
from tenants.activity.events import Seen, changes
from tenants.activity.models import InstanceEvent
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.shops.models import Instance
from tenants.states import EventKind
from tests.factories import make_host, make_shop

AT = datetime.fromisoformat("2026-11-20T10:00:00+00:00")


def entry(instance: Instance, **fields: object) -> dict[str, object]:
    return {"instance_id": instance.public_id, "state": "running", "restarts": 0, **fields}


def placed(host: Host, number: int = 0) -> Instance:
    """The instance of a shop that is placed on the host."""
    instance = make_shop(f"shop-{number}").operation.instance
    Placement.objects.create(
        instance=instance,
        host=host,
        port=10000 + number,
        cpu_millis=1,
        memory_bytes=1,
        disk_bytes=1,
    )
    return instance


def kinds(*, is_open: bool = True) -> list[tuple[str, int]]:
    found = InstanceEvent.objects.filter(ended_at__isnull=is_open).order_by("kind")
    return list(found.values_list("kind", "count"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (Seen(restarts=2), Seen(restarts=5), [("exited", 3, None)]),
        (Seen(restarts=5), Seen(restarts=1), [("exited", 1, None)]),
        (Seen(restarts=5), Seen(restarts=0), []),
        (Seen(oom_kills=1), Seen(oom_kills=3), [("oom_killed", 2, None)]),
        (
            Seen(restarts=3),
            Seen(restarts=4, is_crash_looping=True),
            [("exited", 1, None), ("crash_loop", 1, True)],
        ),
        (Seen(is_crash_looping=True), Seen(), [("crash_loop", 0, False)]),
        (Seen(), Seen(disk="near"), [("disk_near", 1, True)]),
        (Seen(disk="near"), Seen(disk="over"), [("disk_near", 0, False), ("disk_over", 1, True)]),
        (Seen(disk="over"), Seen(), [("disk_over", 0, False)]),
        (Seen(), Seen(throttled_percent=40), [("throttled", 1, True)]),
        (Seen(throttled_percent=40), Seen(throttled_percent=0), [("throttled", 0, False)]),
        (Seen(throttled_percent=40), Seen(throttled_percent=None), []),
        (Seen(), Seen(troubles=(("damaged", "cut"),)), [("damaged", 1, True)]),
        (Seen(troubles=(("damaged", "cut"),)), Seen(troubles=(("damaged", "no text"),)), []),
        (
            Seen(troubles=(("unplugged", "gone"),)),
            Seen(troubles=(("not_answering", "silent"),)),
            [("not_answering", 1, True), ("unplugged", 0, False)],
        ),
    ],
)
def test_a_difference_says_what_happened(
    old: Seen, new: Seen, expected: list[tuple[str, int, bool | None]]
) -> None:
    assert [(one.kind, one.times, one.is_open) for one in changes(old, new)] == expected


@pytest.mark.django_db
def test_a_crash_is_kept_with_its_exit_code_and_last_lines() -> None:
    host = make_host()
    one = placed(host)
    crashed = entry(one, restarts=1, exit_code=3, last_lines=["loading", "no such table: orders"])
    assert events.record(host, [entry(one)], [crashed], at=AT) == 1
    row = InstanceEvent.objects.get()
    assert (row.kind, row.count, row.tenant_id) == ("exited", 1, one.tenant_id)
    assert row.details == {"exit_code": 3, "last_lines": ["loading", "no such table: orders"]}
    assert (row.first_at, row.last_at, row.ended_at) == (AT, AT, None)


@pytest.mark.django_db
def test_what_repeats_is_one_row_that_counts() -> None:
    host = make_host()
    one = placed(host)
    later = AT + timedelta(minutes=1)
    events.record(host, [entry(one)], [entry(one, restarts=1, exit_code=1)], at=AT)
    events.record(host, [entry(one, restarts=1)], [entry(one, restarts=3, exit_code=9)], at=later)
    row = InstanceEvent.objects.get()
    assert (row.count, row.first_at, row.last_at) == (3, AT, later)
    assert row.details["exit_code"] == 9


@pytest.mark.django_db
def test_an_unchanged_report_writes_and_asks_nothing() -> None:
    host = make_host()
    one = placed(host)
    looping = entry(one, restarts=4, crash_looping=True, age_seconds=1.0)
    with CaptureQueriesContext(connection) as queries:
        assert events.record(host, [looping], [looping | {"age_seconds": 3.0}], at=AT) == 0
    assert len(queries) == 0


@pytest.mark.django_db
def test_what_lasts_is_open_until_it_is_over_and_the_next_time_is_a_new_row() -> None:
    host = make_host()
    one = placed(host)
    calm, full = entry(one), entry(one, disk="over")
    for before, after in ((calm, full), (full, calm), (calm, full)):
        events.record(host, [before], [after], at=AT)
    assert kinds() == [("disk_over", 1)]
    assert kinds(is_open=False) == [("disk_over", 1)]


@pytest.mark.django_db
def test_an_instance_that_left_the_host_ends_what_lasted() -> None:
    host = make_host()
    one = placed(host)
    events.record(host, [], [entry(one, throttled_percent=60, disk="near")], at=AT)
    assert kinds() == [("disk_near", 1), ("throttled", 1)]
    assert InstanceEvent.objects.get(kind="throttled").details == {"percent": 60}
    events.record(host, [entry(one, throttled_percent=60, disk="near")], [], at=AT)
    assert kinds() == []


@pytest.mark.django_db
def test_a_host_speaks_only_for_instances_that_are_placed_on_it() -> None:
    host, other = make_host("one"), make_host("two")
    foreign, gone = placed(other), placed(host, 1)
    Placement.objects.filter(instance=gone).update(until=Now())
    lies = [
        entry(foreign, restarts=9),
        entry(gone, oom_kills=4),
        {"instance_id": "ins_none", "restarts": 1},
    ]
    assert events.record(host, [], lies, at=AT) == 0
    assert not InstanceEvent.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "garbled",
    [
        {"restarts": -1}, {"restarts": 2**40}, {"restarts": True}, {"oom_kills": "3"},
        {"crash_looping": 1}, {"disk": "full"}, {"disk": []}, {"throttled_percent": 101},
        {"exit_code": "x"},
    ],
)  # fmt: skip
def test_an_entry_that_is_none_is_left_out_and_harms_no_other(garbled: dict[str, object]) -> None:
    host = make_host()
    bad, good = placed(host, 0), placed(host, 1)
    noise: list[object] = [None, 5, {"instance_id": 7}, entry(bad, restarts=1) | garbled]
    assert events.record(host, [], [*noise, entry(good, restarts=1)], at=AT) == 1
    assert InstanceEvent.objects.get().instance == good


@pytest.mark.django_db
def test_last_lines_are_cut_and_cleaned() -> None:
    host = make_host()
    one = placed(host)
    lines = [f"line {number}" for number in range(30)] + ["bad\x00\ud800\x1b[31m", "x" * 5000, 7]
    events.record(host, [], [entry(one, restarts=1, last_lines=lines)], at=AT)
    kept = InstanceEvent.objects.get().details["last_lines"]
    assert kept == ["x" * events.MOST_LINE_BYTES]
    events.record(host, [], [entry(one, restarts=1, last_lines=lines[:-2])], at=AT)
    kept = InstanceEvent.objects.get().details["last_lines"]
    assert kept[-1] == "bad\ufffd\ufffd\ufffd[31m"
    assert len(kept) == events.MOST_LINES


@pytest.mark.django_db
def test_as_many_queries_for_many_instances_as_for_one() -> None:
    host = make_host(capacity_memory_bytes=10**12)
    many = [placed(host, number) for number in range(12)]
    counts = []
    for chosen in (many[:1], many[1:]):
        with CaptureQueriesContext(connection) as queries:
            events.record(host, [], [entry(one, restarts=1, disk="near") for one in chosen], at=AT)
        fresh = len(queries)
        before = [entry(one, restarts=1, disk="near") for one in chosen]
        with CaptureQueriesContext(connection) as queries:
            events.record(host, before, [entry(one, restarts=2) for one in chosen], at=AT)
        counts.append((fresh, len(queries)))
    assert counts[0] == counts[1]
    assert max(counts[0]) <= 5
    assert InstanceEvent.objects.count() == 24


@pytest.mark.django_db
def test_what_passes_ends_after_a_quiet_hour_and_what_lasts_does_not() -> None:
    host = make_host()
    one, away = placed(host, 0), placed(host, 1)
    long_ago = timezone.now() - timedelta(hours=2)
    seen = {"restarts": 1, "oom_kills": 1, "disk": "over"}
    events.record(host, [], [entry(one, **seen), entry(away, disk="over")], at=long_ago)
    Placement.objects.filter(instance=away).update(until=Now())
    assert events.close_quiet() == 3
    assert kinds() == [("disk_over", 1)]
    assert InstanceEvent.objects.get(kind="exited").ended_at == long_ago


@pytest.mark.django_db
def test_old_events_go_bounded_and_open_ones_stay() -> None:
    host = make_host()
    one = placed(host)
    old = timezone.now() - timedelta(days=100)
    for _ in range(3):
        InstanceEvent.objects.create(
            tenant=one.tenant, instance=one, kind=EventKind.EXITED, last_at=old, ended_at=old
        )
    InstanceEvent.objects.create(
        tenant=one.tenant, instance=one, kind=EventKind.DISK_OVER, last_at=old
    )
    assert events.forget_old(2) == 2
    assert events.forget_old(2) == 1
    assert events.forget_old(2) == 0
    assert kinds() == [("disk_over", 1)]


@pytest.mark.django_db
def test_troubles_a_host_tells_are_kept_with_their_words_and_nonsense_is_left_out() -> None:
    host = make_host()
    instance = placed(host)
    told = [
        {"kind": "not_answering", "message": "no answer\0 " + "x" * 1000, "wants_start": True},
        {"kind": "made up", "message": "x"},
        {"kind": "damaged", "message": 5},
        7,
    ]
    events.record(host, [], [entry(instance, troubles=told)], at=AT)
    assert kinds() == [("not_answering", 1)]
    message = InstanceEvent.objects.get().details["message"]
    assert message.startswith("no answer\ufffd x")
    assert len(message) == 300
    events.record(host, [entry(instance, troubles=told)], [entry(instance)], at=AT)
    assert kinds() == []
