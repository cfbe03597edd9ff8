"""What agents measured becomes rows of usage: each window once, none that makes no sense."""

from datetime import timedelta

from django.db.models import F
from django.utils import timezone

from tenants.core.models import Alarm
from tenants.pool.models import HostReport
from tenants.usage.models import HostUsage
from tests.workers.conftest import World
from tests.workers.reconcilers.conftest import SAMPLE, Reports
from workers.reconcilers import report_ingest

WINDOW = {
    "number": 3,
    "seconds": 300.0,
    "age_seconds": 12.0,
    "instance_ids": ["ins_aaaaaaaa"],
    "cpu_micros": [400],
    "cpu_peak_micros": [9000],
    "memory_peak_bytes": [7],
    "tx_bytes": [8],
    "disk_bytes": [3],
    "oom_kills": [0],
}


def test_a_window_is_kept_once_with_the_time_it_ended(world: World, reports: Reports) -> None:
    reports.host(window=WINDOW)
    report_ingest.observe()
    report_ingest._last_window.clear()  # another observer
    reports.host(window=WINDOW | {"age_seconds": 14.0}, seq=5)
    report_ingest.observe()
    row = HostUsage.objects.get()
    assert row.window == WINDOW
    assert timedelta(seconds=11) < timezone.now() - row.at < timedelta(seconds=16)
    HostUsage.objects.update(at=F("at") - timedelta(minutes=5))
    reports.host(window=WINDOW | {"number": 4, "age_seconds": 0.0}, seq=6)
    report_ingest.observe()
    assert HostUsage.objects.count() == 2


def test_windows_that_come_too_fast_make_no_rows_and_an_alarm(
    world: World, reports: Reports
) -> None:
    for number in range(10):
        reports.host(
            boot_id=f"boot-{number}", window=WINDOW | {"number": number, "age_seconds": 0.0}
        )
        report_ingest.observe()
    assert HostUsage.objects.count() == 1
    assert HostReport.objects.get().boot_id == "boot-9"
    assert [alarm.key for alarm in Alarm.objects.filter(cleared_at=None)] == ["report.usage.local"]
    reports.host(window=None, samples=[])
    report_ingest.observe()
    assert not Alarm.objects.filter(cleared_at=None).exists()


def test_a_window_of_long_ago_makes_no_row(world: World, reports: Reports) -> None:
    for number, age in enumerate((3600.0, 1e15, 1e300)):
        reports.host(window=WINDOW | {"number": number, "age_seconds": age})
        report_ingest.observe()
    assert not HostUsage.objects.exists()
    assert HostReport.objects.exists()


def test_samples_are_learnt_from_only_where_no_windows_come(world: World, reports: Reports) -> None:
    reports.host(window=None)
    report_ingest.observe()
    assert HostUsage.objects.get().is_folded
    HostUsage.objects.all().delete()
    report_ingest._last_window.clear()
    reports.host(seq=5)
    report_ingest.observe()
    assert not HostUsage.objects.get().is_folded


def test_a_window_that_makes_no_sense_is_not_kept(world: World, reports: Reports) -> None:
    reports.host(window=WINDOW | {"cpu_micros": [1, 2]})
    report_ingest.observe()
    assert not HostUsage.objects.exists()


def test_usage_is_one_packed_row_per_host_and_window(world: World, reports: Reports) -> None:
    reports.host()
    report_ingest.observe()
    reports.host(seq=5)
    report_ingest.observe()
    row = HostUsage.objects.get()
    assert row.samples == [SAMPLE]
    assert row.at.minute % 5 == 0
    assert row.at.second == 0
