"""Hosts needed now and in a month, and what would be if: answered by the code that places."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tenants.errors import FieldError
from tenants.placement.models import Placement
from tenants.pool.models import Host, HostReport
from tenants.usage.models import PoolDay
from tests.workers.conftest import MIB, World, make_host
from workers.pool import reader
from workers.scheduler import Resources
from workers.scheduler.profiles.trend import factor
from workers.usage import forecast
from workers.usage.forecast import WhatIf, what_if


@pytest.fixture(autouse=True)
def fresh() -> None:
    reader._kept = None


def test_a_day_says_how_many_hosts_it_takes(world: World) -> None:
    make_host("two")
    for number in range(4):
        world.live_tenant(f"shop-{number}")
    assert forecast.note_pool() == "1 of 2 hosts needed"
    day = PoolDay.objects.get()
    assert (day.hosts, day.open_hosts, day.instances, day.hosts_needed) == (2, 2, 4, 1)
    assert day.booked_memory_bytes == 4 * 64 * MIB
    assert day.hosts_in_30_days is None
    forecast.note_pool()
    assert PoolDay.objects.count() == 1


def test_a_trend_is_carried_on_for_a_month(world: World) -> None:
    for number in range(10):
        world.live_tenant(f"shop-{number}")
    forecast.note_pool()
    today = PoolDay.objects.get()
    for ago in range(1, 10):
        before = PoolDay.objects.get(pk=today.pk)
        before.pk, before.day = None, today.day - timedelta(days=ago)
        before.booked_cpu_millis = before.booked_memory_bytes = 64 * MIB * (10 - ago)
        before.booked_disk_bytes = before.booked_memory_bytes
        before.save()
    forecast.note_pool()
    today.refresh_from_db()
    assert (today.hosts_needed, today.hosts_in_30_days) == (1, 4)


def test_few_days_are_no_trend_and_a_shrinking_pool_needs_no_less_than_nothing() -> None:
    assert factor([(1, 5.0), (2, 6.0)], 30) is None
    assert factor([], 30) is None
    assert factor([(day, 10.0) for day in range(8)], 30) == pytest.approx(1.0)
    assert factor([(day, 100.0 - 9 * day) for day in range(8)], 30) == 0.0
    assert factor([(day, 100.0 + day) for day in range(11)], 30) == pytest.approx(140 / 110)


def test_new_tenants_are_placed_on_paper_only(world: World) -> None:
    answer = what_if(WhatIf(add_tenants=5, plan="starter"))
    assert (answer.asked, answer.placed, answer.new_hosts) == (5, 5, 0)
    assert answer.used_hosts == (0, 1)
    before, after = answer.full["memory"]
    assert before == 0.0
    assert after == pytest.approx(0.32)
    assert not Placement.objects.exists()
    assert Host.objects.get().placed == 0


def test_what_has_no_room_tells_how_many_hosts_it_would_take(world: World) -> None:
    answer = what_if(
        WhatIf(
            add_tenants=40,
            plan="starter",
            host_size=Resources(100_000, 640 * MIB, 10**12),
        )
    )
    assert (answer.placed, answer.new_hosts) == (15, 3)
    assert "has no room: memory" in answer.refusals[0]
    assert not answer.is_unseen


def test_a_host_too_small_for_a_single_shop_is_said(world: World) -> None:
    Host.objects.update(capacity_memory_bytes=32 * MIB)
    answer = what_if(WhatIf(add_tenants=3, plan="starter"))
    assert (answer.placed, answer.new_hosts) == (0, 0)
    words = _asked("--add-tenants", "3", "--plan", "starter")
    assert "cannot hold one of them" in words


def test_an_instance_larger_than_the_usual_host_counts_as_a_host(world: World) -> None:
    make_host("small-1", memory_mib=32)
    make_host("small-2", memory_mib=32)
    world.live_tenant()
    assert forecast.note_pool() == "1 of 3 hosts needed"


def test_a_host_less_is_placed_elsewhere(world: World) -> None:
    for number in range(3):
        world.live_tenant(f"shop-{number}")
    assert what_if(WhatIf(remove_hosts=("local",))).placed == 0
    make_host("two")
    answer = what_if(WhatIf(remove_hosts=("local",)))
    assert (answer.asked, answer.placed, answer.has_room) == (3, 3, True)
    assert Placement.objects.filter(until=None, host__name="local").count() == 3


def test_a_pool_that_cannot_be_seen_is_not_full(world: World) -> None:
    HostReport.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
    answer = what_if(WhatIf(add_tenants=1, plan="starter"))
    assert (answer.placed, answer.is_unseen) == (0, True)


@pytest.mark.parametrize(
    "change",
    [
        WhatIf(add_tenants=1, plan="golden"),
        WhatIf(add_tenants=-1, plan="starter"),
        WhatIf(add_tenants=10**6, plan="starter"),
        WhatIf(remove_hosts=("nowhere",)),
    ],
)
def test_what_makes_no_sense_is_refused(world: World, change: WhatIf) -> None:
    with pytest.raises(FieldError):
        what_if(change)


def _asked(*args: str) -> str:
    out = StringIO()
    call_command("what_if", *args, stdout=out)
    return out.getvalue()


def test_the_command_tells_it_in_words_and_in_json(world: World) -> None:
    words = _asked("--add-tenants", "40", "--plan", "starter")
    assert "15 of 40 instances have room on the hosts there are." in words
    assert "2 more hosts that offer 100 cores, 1 GiB of memory" in words
    told = json.loads(_asked("--add-tenants", "3", "--plan", "starter", "--json"))
    assert (told["placed"], told["has_room"]) == (3, True)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "nothing would be different"),
        (("--add-tenants", "1", "--plan", "golden"), "--plan: there is no plan 'golden'"),
        (("--remove-host", "nowhere"), "--remove-host: there is no host 'nowhere'"),
        (("--add-tenants", "1", "--plan", "starter", "--host-size", "7"), "--host-size is '7'"),
    ],
)
def test_the_command_names_what_is_wrong(world: World, args: tuple[str, ...], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        _asked(*args)
