"""CrunDriver on this machine: the promises, and what only a real host can show."""

from collections.abc import Iterator

import pytest

from runtime.specs import InstanceSpec
from tests.runtime.hosts import Host, lack_of_store
from tests.runtime.promises.driver import DriverPromises
from tests.runtime.promises.subject import Subject

pytestmark = pytest.mark.root


class CrunSubject(Subject):
    def __init__(self, host: Host) -> None:
        self.host = host
        self.driver = host.driver()

    def spec(self, number: int = 0, **changes: object) -> InstanceSpec:
        return self.host.spec(number, **changes)

    def spare_image(self, *, is_young: bool = False) -> str:
        return self.host.spare_image(is_young=is_young)

    def volume_exists(self, name: str) -> bool:
        return self.host.spaces.volume(name).exists()

    def write(self, volume: str, name: str, content: bytes) -> None:
        (self.host.spaces.volume(volume) / name).write_bytes(content)

    def read(self, volume: str) -> dict[str, bytes]:
        place = self.host.spaces.volume(volume)
        return {one.name: one.read_bytes() for one in place.iterdir()}


class TestCrunDriver(DriverPromises):
    """On a host whose file system enforces nothing, and on one with a store that does."""

    @pytest.fixture(params=["measured", "store"])
    def subject(self, host: Host, request: pytest.FixtureRequest) -> Iterator[CrunSubject]:
        if request.param == "store":
            if lack := lack_of_store():
                pytest.skip(lack)
            host.make_store()
        host.start_keeper()
        yield CrunSubject(host)
        for status in host.driver().list():
            assert host.containers(host.spec(int(status.instance_id[8:]))) <= 1
