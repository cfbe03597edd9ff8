"""What an agent tells of its host comes every two seconds, however long a look at all instances takes."""

import threading
import time
from pathlib import Path

import pytest

from runtime.errors import HostError
from runtime.units import Sample
from tests.support.fake_driver import FakeDriver
from workers.agents.host import report as host_report
from workers.agents.host.report import ReportCollector


class SlowDriver(FakeDriver):
    """Takes its time for samples, as one of thousands of instances on a busy machine."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()

    def samples(self) -> tuple[Sample, ...]:
        self.may_go_on.wait(20)
        return super().samples()


def test_a_report_does_not_wait_for_samples_and_a_later_one_has_them(tmp_path: Path) -> None:
    driver = SlowDriver()
    report = ReportCollector(driver, state_dir=tmp_path)
    assert [report.collect()["samples_seq"] for _ in range(2)] == [0, 0]
    driver.may_go_on.set()
    until = time.monotonic() + 20
    while report.collect()["samples_seq"] == 0:
        assert time.monotonic() < until, "the samples never came"


def test_samples_that_are_quick_come_with_the_report_that_asked_for_them(tmp_path: Path) -> None:
    driver = SlowDriver()
    driver.may_go_on.set()
    assert ReportCollector(driver, state_dir=tmp_path).collect()["samples_seq"] == 1


def test_samples_that_fail_fail_that_report_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_report, "SAMPLE_SECONDS", 0.0)
    driver = SlowDriver()
    driver.may_go_on.set()
    report = ReportCollector(driver, state_dir=tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(driver, "samples", _fail)
        with pytest.raises(HostError):
            report.collect()
    assert report.collect()["samples_seq"] == 1


def _fail() -> tuple[Sample, ...]:
    raise HostError("no cgroups")
