"""A host that was declared lost stops what is not its own before anything starts there."""

from pathlib import Path

import pytest

from runtime.errors import HostError, RuntimeCoreError, StaleFenceError
from runtime.specs import Fence, InstanceSpec
from runtime.statuses import ContainerState
from runtime.units import Limits
from tests.support.fake_driver import FakeDriver
from workers.agents.host.adoption import Adoption

DIGEST = "sha256:" + "1" * 64
ONE, TWO = "ins_aaaaaaaa", "ins_bbbbbbbb"


def make_spec(name: str, number: int) -> InstanceSpec:
    return InstanceSpec(
        instance_id=name,
        tenant="acme",
        image_digest=DIGEST,
        published_port=10000 + number,
        ceilings=Limits(cpu_millis=1000, memory_bytes=64 * 2**20, pids=64, disk_bytes=2**28),
        volume=f"volume-{number}",
        new_volume=True,
    )


@pytest.fixture
def driver() -> FakeDriver:
    made = FakeDriver(frozenset({DIGEST}))
    for number, name in enumerate((ONE, TWO)):
        made.ensure_running(make_spec(name, number), fence=Fence(1, 5))
    return made


def running(driver: FakeDriver) -> set[str]:
    return {one.instance_id for one in driver.list() if one.state is ContainerState.RUNNING}


def test_the_first_adoption_stops_nothing(driver: FakeDriver, tmp_path: Path) -> None:
    adoption = Adoption(driver, tmp_path)
    adoption.admit(Fence(1, 1))
    assert adoption.adopt(1, keep=[]) == ()
    assert running(driver) == {ONE, TWO}
    assert Adoption(driver, tmp_path).known == 1


def test_a_later_one_stops_all_but_what_is_kept_and_leaves_the_volumes(
    driver: FakeDriver, tmp_path: Path
) -> None:
    adoption = Adoption(driver, tmp_path)
    adoption.adopt(1, keep=[])
    before = set(driver.volumes)
    assert adoption.adopt(2, keep=[ONE]) == (TWO,)
    assert running(driver) == {ONE}
    assert driver.volumes == before
    assert Adoption(driver, tmp_path).known == 2


def test_data_of_what_was_removed_meanwhile_goes(driver: FakeDriver, tmp_path: Path) -> None:
    adoption = Adoption(driver, tmp_path)
    adoption.adopt(1, keep=[])
    before = len(driver.volumes)
    adoption.adopt(3, keep=[ONE], delete=[TWO])
    assert len(driver.volumes) == before - 1


def test_calls_of_another_life_are_refused(driver: FakeDriver, tmp_path: Path) -> None:
    adoption = Adoption(driver, tmp_path)
    adoption.adopt(1, keep=[])
    adoption.adopt(2, keep=[ONE, TWO])
    with pytest.raises(StaleFenceError, match="epoch 1 is over"):
        adoption.admit(Fence(1, 99))
    with pytest.raises(HostError, match="has yet to learn"):
        adoption.admit(Fence(3, 1))
    with pytest.raises(StaleFenceError):
        adoption.adopt(1, keep=[])
    adoption.admit(Fence(2, 1))


def test_a_stop_that_fails_leaves_the_old_number_and_the_next_try_succeeds(
    driver: FakeDriver, tmp_path: Path
) -> None:
    adoption = Adoption(driver, tmp_path)
    adoption.adopt(1, keep=[])
    driver.fail_next("ensure_absent", HostError("stuck"))
    with pytest.raises(RuntimeCoreError, match="no longer this host's still run"):
        adoption.adopt(2, keep=[ONE])
    assert adoption.known == 1
    with pytest.raises(StaleFenceError):
        adoption.admit(Fence(1, 9))  # no more of the old life either
    assert adoption.adopt(2, keep=[ONE]) == (TWO,)
