"""Volumes put away off the host, and fetched."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from runtime.errors import (
    DataMissingError,
    HostError,
    InputError,
    SpecInvalidError,
    StaleFenceError,
    TransferFailedError,
)
from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.units import MIB
from runtime.volume_requests import VolumeLoad, VolumePart, VolumeSave
from tests.runtime.promises.subject import FIRST, Subject
from tests.runtime.shelves import Shelf, shelf


class VolumePromises:
    """Subclasses define the fixture `subject`."""

    @pytest.fixture
    def shelf(self) -> Iterator[Shelf]:
        with shelf() as there:
            yield there

    def test_a_volume_put_away_comes_back_exactly(self, subject: Subject, shelf: Shelf) -> None:
        spec = _with_volume(subject)
        subject.write("acme", "orders", b"one, two")
        saved = subject.driver.save_volume(_save("snp_00000001", shelf))
        assert (saved.snapshot, saved.base, saved.files >= 1) == ("snp_00000001", "", True)
        assert saved.archive_bytes == len(shelf.kept["snp_00000001"])
        assert subject.driver.status(spec.instance_id).healthy
        subject.driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
        loaded = subject.driver.load_volume(_load(shelf.part(saved)), fence=FIRST)
        assert (loaded.volume, loaded.snapshot) == ("acme", "snp_00000001")
        assert loaded.fetched_bytes == saved.archive_bytes
        assert subject.read("acme") == {"orders": b"one, two"}
        assert subject.driver.ensure_running(spec, fence=FIRST).healthy

    def test_a_stopped_instances_volume_is_put_away_as_well(
        self, subject: Subject, shelf: Shelf
    ) -> None:
        spec = _with_volume(subject)
        subject.write("acme", "orders", b"one")
        subject.driver.ensure_stopped(spec.instance_id, fence=FIRST)
        first = subject.driver.save_volume(_save("snp_00000001", shelf))
        again = subject.driver.save_volume(_save("snp_00000001", shelf))
        assert (first.sha256, first.frozen_ms) == (again.sha256, 0.0)

    def test_a_difference_follows_a_known_base_and_nothing_an_unchanged_one(
        self, subject: Subject, shelf: Shelf
    ) -> None:
        spec = _with_volume(subject)
        subject.write("acme", "picture", bytes(range(256)) * 200)
        subject.write("acme", "orders", b"one")
        full = subject.driver.save_volume(_save("snp_00000001", shelf))
        same = subject.driver.save_volume(_save("snp_00000002", shelf, base="snp_00000001"))
        assert (same.unchanged, same.base, same.archive_bytes) == (True, "snp_00000001", 0)
        assert "snp_00000002" not in shelf.kept
        subject.write("acme", "orders", b"one, two")
        part = subject.driver.save_volume(_save("snp_00000003", shelf, base="snp_00000001"))
        assert (part.base, part.unchanged) == ("snp_00000001", False)
        unknown = subject.driver.save_volume(_save("snp_00000004", shelf, base="snp_0000never"))
        assert unknown.base == ""
        subject.driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
        chain = (shelf.part(full), shelf.part(part))
        subject.driver.load_volume(_load(*chain), fence=FIRST)
        assert subject.read("acme") == {
            "picture": bytes(range(256)) * 200,
            "orders": b"one, two",
        }

    def test_a_host_that_has_the_beginning_of_a_chain_fetches_the_rest_alone(
        self, subject: Subject, shelf: Shelf
    ) -> None:
        spec = _with_volume(subject)
        subject.write("acme", "picture", bytes(range(256)) * 200)
        full = subject.driver.save_volume(_save("snp_00000001", shelf))
        subject.write("acme", "orders", b"one, two")
        part = subject.driver.save_volume(_save("snp_00000002", shelf, base="snp_00000001"))
        subject.driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
        subject.driver.load_volume(_load(shelf.part(full)), fence=FIRST)
        chain = _load(shelf.part(full), shelf.part(part))
        second = subject.driver.load_volume(chain, fence=FIRST)
        assert second.fetched_bytes == part.archive_bytes
        assert subject.driver.load_volume(chain, fence=FIRST).fetched_bytes == 0
        assert sorted(subject.read("acme")) == ["orders", "picture"]
        # Once it has run, nobody knows what state it is in: all of it is fetched.
        subject.driver.ensure_running(spec, fence=FIRST)
        subject.write("acme", "orders", b"one, two, three")
        subject.driver.ensure_stopped(spec.instance_id, fence=FIRST)
        third = subject.driver.load_volume(chain, fence=FIRST)
        assert third.fetched_bytes == full.archive_bytes + part.archive_bytes
        assert subject.read("acme")["orders"] == b"one, two"

    def test_what_was_loaded_is_a_base_for_what_is_put_away_next(
        self, subject: Subject, shelf: Shelf
    ) -> None:
        spec = _with_volume(subject)
        subject.write("acme", "picture", bytes(range(256)) * 200)
        full = subject.driver.save_volume(_save("snp_00000001", shelf))
        subject.driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
        subject.driver.load_volume(_load(shelf.part(full)), fence=FIRST)
        subject.driver.ensure_running(spec, fence=FIRST)
        subject.write("acme", "orders", b"one")
        part = subject.driver.save_volume(_save("snp_00000002", shelf, base="snp_00000001"))
        assert part.base == "snp_00000001"

    def test_a_volume_in_use_or_under_a_newer_fence_is_not_replaced(
        self, subject: Subject, shelf: Shelf
    ) -> None:
        spec = _with_volume(subject, fence=Fence(2, 1))
        subject.write("acme", "orders", b"one")
        saved = subject.driver.save_volume(_save("snp_00000001", shelf))
        subject.write("acme", "orders", b"one, two")
        with pytest.raises(InputError, match="acme is in use by a container that runs here"):
            subject.driver.load_volume(_load(shelf.part(saved)), fence=Fence(2, 1))
        subject.driver.ensure_stopped(spec.instance_id, fence=Fence(2, 1))
        with pytest.raises(StaleFenceError):
            subject.driver.load_volume(_load(shelf.part(saved)), fence=FIRST)
        assert subject.read("acme")["orders"] == b"one, two"

    def test_an_archive_that_is_not_what_was_put_away_changes_nothing(
        self, subject: Subject, shelf: Shelf
    ) -> None:
        spec = _with_volume(subject)
        subject.write("acme", "orders", b"one")
        saved = subject.driver.save_volume(_save("snp_00000001", shelf))
        subject.write("acme", "orders", b"one, two")
        subject.driver.ensure_stopped(spec.instance_id, fence=FIRST)
        wrong = replace(shelf.part(saved), sha256="0" * 64)
        with pytest.raises(TransferFailedError, match="something else") as caught:
            subject.driver.load_volume(_load(wrong), fence=FIRST)
        assert "sig=" not in str(caught.value)
        small = replace(_load(shelf.part(saved)), ceiling_bytes=1)
        with pytest.raises(HostError, match="its limit is"):
            subject.driver.load_volume(small, fence=FIRST)
        assert subject.read("acme") == {"orders": b"one, two"}

    def test_a_volume_that_was_loaded_and_never_run_goes_with_its_instance(
        self, subject: Subject, shelf: Shelf
    ) -> None:
        spec = _with_volume(subject)
        subject.write("acme", "orders", b"one")
        saved = subject.driver.save_volume(_save("snp_00000001", shelf))
        for fate in (VolumeFate.DELETE, VolumeFate.KEEP):
            subject.driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
            subject.driver.load_volume(_load(shelf.part(saved)), fence=FIRST)
            subject.driver.ensure_absent(spec.instance_id, fence=FIRST, volume=fate)
            assert subject.volume_exists("acme") == (fate is VolumeFate.KEEP)

    def test_what_cannot_be_put_away_is_refused(self, subject: Subject, shelf: Shelf) -> None:
        with pytest.raises(DataMissingError, match="volume acme"):
            subject.driver.save_volume(_save("snp_00000001", shelf))
        with pytest.raises(SpecInvalidError, match=r"snapshot is '\.\./x'"):
            subject.driver.save_volume(_save("../x", shelf))
        with pytest.raises(SpecInvalidError, match="chain has 0 archives"):
            subject.driver.load_volume(_load(), fence=FIRST)
        _with_volume(subject)
        shelf.status = 403
        with pytest.raises(TransferFailedError, match="answered 403"):
            subject.driver.save_volume(_save("snp_00000001", shelf))


def _with_volume(subject: Subject, fence: Fence = FIRST) -> InstanceSpec:
    spec = subject.spec(volume="acme")
    subject.driver.ensure_running(spec, fence=fence)
    return spec


def _save(snapshot: str, shelf: Shelf, *, base: str = "") -> VolumeSave:
    return VolumeSave("acme", snapshot, base, shelf.address(snapshot))


def _load(*chain: VolumePart) -> VolumeLoad:
    return VolumeLoad("ins_test000000", "acme", chain, 100 * MIB, 1000, 1000)
