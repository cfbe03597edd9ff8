"""Who uses a volume is known at once and exactly, and found without reading every record of the host."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.bundle import InstanceDirectory, InstanceRecord
from runtime.crun.records import Records
from tests.runtime.bundle.test_directory import RECORD

Counter = Callable[[], int]


def record(number: int, volume: str) -> InstanceRecord:
    spec = replace(RECORD.spec, instance_id=f"ins_{number:010}", volume=volume)
    return replace(RECORD, spec=spec)


def write(state_dir: Path, one: InstanceRecord) -> None:
    """As another process does."""
    InstanceDirectory.of(state_dir, one.spec.instance_id).write(one)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """How often somebody has turned to an instance's directory since it was asked last."""
    seen: list[str] = []
    of = InstanceDirectory.of

    def counted(state_dir: Path, instance_id: str) -> InstanceDirectory:
        seen.append(instance_id)
        return of(state_dir, instance_id)

    def count() -> int:
        found = len(seen)
        seen.clear()
        return found

    monkeypatch.setattr(InstanceDirectory, "of", counted)
    return count


@pytest.mark.parametrize("others", [10, 300])
def test_the_users_of_a_volume_cost_as_many_looks_however_many_instances_there_are(
    tmp_path: Path, looks: Counter, others: int
) -> None:
    for number in range(others):
        write(tmp_path, record(number, f"vol-{number}"))
    records = Records(tmp_path)
    assert len(records.all()) == others
    looks()
    for number in range(5):  # as the copies of five volumes do
        assert list(records.users_of(f"vol-{number}")) == [f"ins_{number:010}"]
    assert records.users_of("vol-of-nobody") == {}
    assert looks() == 5


def test_a_start_after_the_last_look_at_all_is_known_whoever_started_it(tmp_path: Path) -> None:
    records = Records(tmp_path)
    assert records.users_of("acme") == {}
    records.write(record(1, "acme"))
    write(tmp_path, record(2, "acme"))
    write(tmp_path, record(3, "other"))
    assert records.users_of("acme") == {
        f"ins_{number:010}": record(number, "acme") for number in (1, 2)
    }


def test_a_process_that_has_just_begun_knows_every_user(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path, record(number, "acme" if number % 2 else "other"))
    assert list(Records(tmp_path).users_of("acme")) == ["ins_0000000001", "ins_0000000003"]


def test_who_has_another_volume_now_or_is_gone_is_no_user(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for number in (1, 2, 3):
        records.write(record(number, "acme"))
    records.write(record(1, "other"))
    InstanceDirectory.of(tmp_path, "ins_0000000002").remove()
    assert list(records.users_of("acme")) == ["ins_0000000003"]
    assert list(records.users_of("other")) == ["ins_0000000001"]
    records.write(record(1, "acme"))
    records.write(record(2, "acme"))
    assert len(records.users_of("acme")) == 3


def test_whose_record_is_damaged_uses_the_volume_it_was_known_to_use(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.write(record(1, "acme"))
    InstanceDirectory.of(tmp_path, "ins_0000000001").record_path.write_text("{")
    assert list(records.users_of("acme")) == ["ins_0000000001"]


def test_what_is_gone_leaves_nothing_in_memory(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for number in range(3):
        records.write(record(number, f"vol-{number}"))
        InstanceDirectory.of(tmp_path, f"ins_{number:010}").remove()
        records.forget(f"ins_{number:010}")
    assert records.users_of("vol-0") == {}
    assert records._named == {}
