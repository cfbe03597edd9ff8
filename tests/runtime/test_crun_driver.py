"""CrunDriver on this machine: the promises, and what only a real host can show."""

from collections.abc import Iterator

import pytest

from runtime.driver import InstanceSpec
from tests.runtime.hosts import Host
from tests.runtime.promises import DriverPromises, Subject

pytestmark = pytest.mark.root


class CrunSubject(Subject):
    def __init__(self, host: Host) -> None:
        self.host = host
        self.driver = host.driver()

    def spec(self, number: int = 0, **changes: object) -> InstanceSpec:
        return self.host.spec(number, **changes)

    def volume_exists(self, name: str) -> bool:
        return (self.host.state_dir / "volumes" / name).exists()


class TestCrunDriver(DriverPromises):
    @pytest.fixture
    def subject(self, host: Host) -> Iterator[CrunSubject]:
        host.start_keeper()
        yield CrunSubject(host)
        for status in host.driver().list():
            assert host.containers(host.spec(int(status.instance_id[8:]))) <= 1
