"""FakeDriver keeps the same promises as the real one, and fails when told to."""

import itertools

import pytest

from runtime.driver import Driver
from runtime.errors import ExitedError, HostUnreachableError, UnhealthyError
from runtime.specs import InstanceSpec
from runtime.statuses import ContainerState
from runtime.units import MIB, Limits
from tests.runtime.promises.driver import DriverPromises
from tests.runtime.promises.subject import FIRST, Subject
from tests.support.fake_driver import FakeDriver

DIGEST = "sha256:" + "1" * 64
_spares = itertools.count(10)


class FakeSubject(Subject):
    def __init__(self) -> None:
        self.fake = FakeDriver(frozenset({DIGEST}))
        self.driver: Driver = self.fake

    def spec(self, number: int = 0, **changes: object) -> InstanceSpec:
        mode = changes.pop("mode", "well")
        values: dict[str, object] = {
            "instance_id": f"ins_test{number:06d}",
            "tenant": f"shop-{number}",
            "image_digest": DIGEST,
            "published_port": 21000 + number,
            "ceilings": Limits(1000, 64 * MIB, 64, 100 * MIB),
            "new_volume": True,
            **changes,
        }
        if mode == "ends":
            error = ExitedError("ended", exit_code=3, log_lines=["cannot go on"])
            self.fake.fail_next("ensure_running", error)
        elif mode == "sick":
            self.fake.fail_next("ensure_running", UnhealthyError("not well"))
        return InstanceSpec(**values)  # type: ignore[arg-type]

    def spare_image(self, *, is_young: bool = False) -> str:
        digest = f"sha256:{next(_spares):064x}"
        self.fake.sources.add(digest)
        self.fake.ensure_image(digest)
        if not is_young:
            self.fake.young.discard(digest)
        return digest

    def volume_exists(self, name: str) -> bool:
        return name in self.fake.volumes

    def write(self, volume: str, name: str, content: bytes) -> None:
        self.fake.contents[volume][name] = content

    def read(self, volume: str) -> dict[str, bytes]:
        return self.fake.contents[volume]


class TestFakeDriver(DriverPromises):
    @pytest.fixture
    def subject(self) -> FakeSubject:
        return FakeSubject()

    def test_it_fails_once_when_told_to_and_does_nothing_then(self, subject: FakeSubject) -> None:
        subject.fake.fail_next("ensure_running", HostUnreachableError("cable is out"))
        with pytest.raises(HostUnreachableError):
            subject.driver.ensure_running(subject.spec(), fence=FIRST)
        assert subject.driver.status(subject.spec().instance_id).state is ContainerState.ABSENT
        assert subject.driver.ensure_running(subject.spec(), fence=FIRST).healthy

    def test_it_remembers_what_it_was_asked(self, subject: FakeSubject) -> None:
        subject.driver.ensure_running(subject.spec(), fence=FIRST)
        assert subject.fake.calls == [("ensure_running", subject.spec().instance_id)]
