"""What every driver promises, as one suite: a subclass brings the driver, the tests are the same."""

import re
from abc import abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from runtime.driver import Driver
from runtime.errors import (
    DataMissingError,
    ExitedError,
    HostError,
    ImageUnknownError,
    InputError,
    LimitInUseError,
    SpecInvalidError,
    StaleFenceError,
    TransferFailedError,
    UnhealthyError,
)
from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.statuses import ContainerState
from runtime.units import KIB, MIB, Limits
from runtime.volume_requests import VolumeLoad, VolumePart, VolumeSave
from tests.runtime.shelves import Shelf, shelf

FIRST = Fence(1, 1)
_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z (out|err) .*")


class Subject:
    """A driver under test and what the suite needs to know of its world."""

    driver: Driver

    @abstractmethod
    def spec(self, number: int = 0, **changes: object) -> InstanceSpec:
        """A spec that runs well; mode="ends" ends with 3 at once, mode="sick" never gets healthy."""

    @abstractmethod
    def spare_image(self, *, is_young: bool = False) -> str:
        """Put an image that no instance uses onto the host; asked for just now, or hours ago."""

    @abstractmethod
    def volume_exists(self, name: str) -> bool:
        """Whether the volume is there."""

    @abstractmethod
    def write(self, volume: str, name: str, content: bytes) -> None:
        """Write a file of a volume that is there, as its tenant would."""

    @abstractmethod
    def read(self, volume: str) -> dict[str, bytes]:
        """Every file of a volume."""


class DriverPromises:
    """Subclasses define the fixture `subject`."""

    def test_a_spec_becomes_one_running_healthy_container(self, subject: Subject) -> None:
        spec = subject.spec()
        status = subject.driver.ensure_running(spec, fence=FIRST)
        assert status.state is ContainerState.RUNNING
        assert status.healthy
        assert (status.tenant, status.published_port) == (spec.tenant, spec.published_port)
        assert (status.image_digest, status.fence) == (spec.image_digest, FIRST)
        assert status.pid > 0
        assert status.address
        assert status.exit_code is None
        assert status.timings_ms["total"] >= 0

    def test_an_equal_spec_leaves_the_running_container_alone(self, subject: Subject) -> None:
        first = subject.driver.ensure_running(subject.spec(), fence=FIRST)
        second = subject.driver.ensure_running(subject.spec(), fence=Fence(1, 2))
        assert second.pid == first.pid
        assert second.fence == Fence(1, 2)

    def test_a_different_spec_replaces_the_container(self, subject: Subject) -> None:
        spec = subject.spec()
        first = subject.driver.ensure_running(spec, fence=FIRST)
        other = replace(spec, env=(*spec.env, ("COLOR", "red")))
        second = subject.driver.ensure_running(other, fence=Fence(1, 2))
        assert second.pid != first.pid
        assert len(subject.driver.list()) == 1

    def test_other_ceilings_and_internet_are_given_to_the_running_container(
        self, subject: Subject
    ) -> None:
        spec = subject.spec()
        first = subject.driver.ensure_running(spec, fence=FIRST)
        small = Limits(500, 48 * MIB, 32, 90 * MIB, egress_bytes_per_second=MIB)
        for changed in (
            replace(spec, ceilings=small),
            replace(spec, ceilings=small, internet=False),
            spec,
        ):
            for _ in range(2):
                status = subject.driver.ensure_running(changed, fence=Fence(1, 2))
                assert (status.pid, status.healthy, status.restarts) == (first.pid, True, 0)
                assert status.fence == Fence(1, 2)

    def test_less_memory_than_is_in_use_is_refused_and_all_stays_as_it_was(
        self, subject: Subject
    ) -> None:
        spec = subject.spec()
        first = subject.driver.ensure_running(spec, fence=FIRST)
        tiny = replace(spec, ceilings=replace(spec.ceilings, memory_bytes=64 * KIB))
        with pytest.raises(LimitInUseError, match="of memory"):
            subject.driver.ensure_running(tiny, fence=FIRST)
        again = subject.driver.ensure_running(spec, fence=FIRST)
        assert (again.pid, again.healthy) == (first.pid, True)

    def test_a_different_port_moves_the_container(self, subject: Subject) -> None:
        spec = subject.spec()
        subject.driver.ensure_running(spec, fence=FIRST)
        moved = replace(spec, published_port=spec.published_port + 7)
        status = subject.driver.ensure_running(moved, fence=Fence(1, 2))
        assert (status.published_port, status.healthy) == (moved.published_port, True)

    def test_many_callers_at_once_get_the_same_container(self, subject: Subject) -> None:
        with ThreadPoolExecutor(4) as pool:
            done = list(
                pool.map(
                    lambda _n: subject.driver.ensure_running(subject.spec(), fence=FIRST), range(4)
                )
            )
        assert len({status.pid for status in done}) == 1

    def test_a_spec_that_cannot_run_is_refused_before_anything_is_touched(
        self, subject: Subject
    ) -> None:
        wrong = replace(subject.spec(), health_path="healthz")
        with pytest.raises(
            SpecInvalidError, match="health_path is 'healthz'; it must start with /"
        ):
            subject.driver.ensure_running(wrong, fence=FIRST)
        assert subject.driver.list() == ()

    def test_an_image_the_host_lacks_is_an_error_of_its_own(self, subject: Subject) -> None:
        with pytest.raises(ImageUnknownError, match="sha256:9999"):
            subject.driver.ensure_running(
                replace(subject.spec(), image_digest="sha256:" + "9" * 64), fence=FIRST
            )
        assert subject.driver.list() == ()

    def test_a_port_of_another_instance_is_refused(self, subject: Subject) -> None:
        subject.driver.ensure_running(subject.spec(0), fence=FIRST)
        wrong = replace(subject.spec(1), published_port=subject.spec(0).published_port)
        with pytest.raises(SpecInvalidError, match=r"published_port \d+ belongs to ins_") as caught:
            subject.driver.ensure_running(wrong, fence=FIRST)
        # By this whoever asked knows that another port would do (workers/flows/steps/ports.py).
        assert caught.value.details["field"] == "published_port"
        assert subject.driver.ensure_running(subject.spec(1), fence=FIRST).healthy

    def test_an_older_fence_is_refused_by_every_verb(self, subject: Subject) -> None:
        spec = subject.spec()
        subject.driver.ensure_running(spec, fence=Fence(2, 5))
        for stale in (Fence(2, 4), Fence(1, 99)):
            with pytest.raises(StaleFenceError):
                subject.driver.ensure_running(spec, fence=stale)
            with pytest.raises(StaleFenceError):
                subject.driver.ensure_stopped(spec.instance_id, fence=stale)
            with pytest.raises(StaleFenceError):
                subject.driver.ensure_absent(
                    spec.instance_id, fence=stale, volume=VolumeFate.DELETE
                )
        assert subject.driver.status(spec.instance_id).healthy

    def test_the_fence_of_a_removed_instance_is_remembered(self, subject: Subject) -> None:
        spec = subject.spec()
        subject.driver.ensure_running(spec, fence=FIRST)
        subject.driver.ensure_absent(spec.instance_id, fence=Fence(1, 8), volume=VolumeFate.DELETE)
        with pytest.raises(StaleFenceError):
            subject.driver.ensure_running(spec, fence=Fence(1, 7))
        assert subject.driver.status(spec.instance_id).fence == Fence(1, 8)

    def test_a_stopped_instance_stays_known_and_starts_again(self, subject: Subject) -> None:
        spec = subject.spec()
        subject.driver.ensure_running(spec, fence=FIRST)
        stopped = subject.driver.ensure_stopped(spec.instance_id, fence=FIRST)
        assert (stopped.state, stopped.pid, stopped.healthy) == (ContainerState.EXITED, 0, False)
        assert stopped.exit_code is not None
        assert [one.instance_id for one in subject.driver.list()] == [spec.instance_id]
        again = subject.driver.ensure_stopped(spec.instance_id, fence=FIRST)
        assert again.state is ContainerState.EXITED
        assert subject.driver.ensure_running(spec, fence=Fence(1, 2)).healthy

    def test_stopping_or_removing_what_never_was_is_calm(self, subject: Subject) -> None:
        stopped = subject.driver.ensure_stopped("ins_never00001", fence=FIRST)
        assert stopped.state is ContainerState.ABSENT
        subject.driver.ensure_absent("ins_never00002", fence=FIRST, volume=VolumeFate.DELETE)
        assert subject.driver.status("ins_never00002").state is ContainerState.ABSENT

    def test_a_removed_instance_is_gone_and_removing_repeats(self, subject: Subject) -> None:
        spec = subject.spec()
        subject.driver.ensure_running(spec, fence=FIRST)
        for _ in range(2):
            subject.driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
        assert subject.driver.status(spec.instance_id).state is ContainerState.ABSENT
        assert subject.driver.list() == ()

    def test_a_volume_is_kept_or_deleted_as_told(self, subject: Subject) -> None:
        spec = subject.spec(volume="acme")
        subject.driver.ensure_running(spec, fence=FIRST)
        subject.driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.KEEP)
        assert subject.volume_exists("acme")
        subject.driver.ensure_running(spec, fence=FIRST)
        subject.driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
        assert not subject.volume_exists("acme")

    def test_a_program_that_ends_is_reported_with_its_exit_code(self, subject: Subject) -> None:
        spec = subject.spec(mode="ends")
        with pytest.raises(ExitedError) as caught:
            subject.driver.ensure_running(spec, fence=FIRST)
        assert caught.value.details["exit_code"] == 3
        assert "cannot go on" in str(caught.value.details["log_lines"])
        status = subject.driver.status(spec.instance_id)
        assert (status.state, status.exit_code) == (ContainerState.EXITED, 3)
        assert "cannot go on" in status.last_lines[-1]
        again = subject.driver.ensure_running(subject.spec(), fence=Fence(1, 2))
        assert (again.healthy, again.exit_code, again.last_lines) == (True, None, ())

    def test_a_program_that_never_gets_well_is_reported_and_shown_unwell(
        self, subject: Subject
    ) -> None:
        spec = subject.spec(mode="sick", health_timeout_seconds=0.5)
        with pytest.raises(UnhealthyError):
            subject.driver.ensure_running(spec, fence=FIRST)
        status = subject.driver.status(spec.instance_id)
        assert (status.state, status.healthy) == (ContainerState.RUNNING, False)

    def test_the_list_is_ordered_by_id(self, subject: Subject) -> None:
        for number in (2, 0, 1):
            subject.driver.ensure_running(subject.spec(number), fence=FIRST)
        listed = [status.instance_id for status in subject.driver.list()]
        assert listed == sorted(subject.spec(number).instance_id for number in (0, 1, 2))

    def test_log_lines_are_stamped_and_say_their_stream(self, subject: Subject) -> None:
        spec = subject.spec()
        subject.driver.ensure_running(spec, fence=FIRST)
        lines = subject.driver.logs(spec.instance_id)
        assert lines
        assert all(_LOG_LINE.fullmatch(line) for line in lines)
        assert subject.driver.logs(spec.instance_id, lines=0) == ()
        assert subject.driver.logs("ins_never00001") == ()

    def test_every_running_instance_has_one_sample(self, subject: Subject) -> None:
        subject.driver.ensure_running(subject.spec(0), fence=FIRST)
        subject.driver.ensure_running(subject.spec(1), fence=FIRST)
        subject.driver.ensure_stopped(subject.spec(1).instance_id, fence=FIRST)
        (sample,) = subject.driver.samples()
        assert sample.instance_id == subject.spec(0).instance_id
        assert sample.memory_bytes > 0
        assert sample.pids >= 1
        assert sample.disk_bytes > 0

    def test_images_say_who_uses_them(self, subject: Subject) -> None:
        spec = subject.spec()
        subject.driver.ensure_running(spec, fence=FIRST)
        (image,) = [one for one in subject.driver.images() if one.digest == spec.image_digest]
        assert image.users == (spec.instance_id,)
        assert image.disk_bytes > 0
        subject.driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
        assert all(one.users == () for one in subject.driver.images())

    def test_an_image_that_is_there_is_had_at_once(self, subject: Subject) -> None:
        digest = subject.spec().image_digest
        assert subject.driver.ensure_image(digest, "").digest == digest
        with pytest.raises(ImageUnknownError, match="sha256:9999"):
            subject.driver.ensure_image("sha256:" + "9" * 64, "")
        with pytest.raises(SpecInvalidError, match="image_digest is 'latest'"):
            subject.driver.ensure_image("latest", "")

    def test_images_in_use_kept_or_young_are_never_collected(self, subject: Subject) -> None:
        running, stopped = subject.spec(0), subject.spec(1)
        subject.driver.ensure_running(running, fence=FIRST)
        subject.driver.ensure_running(stopped, fence=FIRST)
        subject.driver.ensure_stopped(stopped.instance_id, fence=FIRST)
        subject.driver.ensure_absent(running.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
        kept, young = subject.spare_image(), subject.spare_image(is_young=True)
        idle = subject.spare_image()
        assert subject.driver.collect_images((kept,)) == (idle,)
        held = {image.digest for image in subject.driver.images()}
        assert {stopped.image_digest, kept, young} <= held
        assert idle not in held
        assert subject.driver.ensure_running(stopped, fence=FIRST).healthy
        assert subject.driver.collect_images(()) == (kept,)
        with pytest.raises(SpecInvalidError, match="image_digest is 'all'"):
            subject.driver.collect_images(("all",))

    def test_a_command_runs_inside_and_gives_its_output(self, subject: Subject) -> None:
        spec = subject.spec()
        subject.driver.ensure_running(spec, fence=FIRST)
        done = subject.driver.exec(spec.instance_id, ("busybox", "echo", "hello there"))
        assert done.exit_code == 0
        assert "hello there" in done.output

    def test_a_command_needs_a_running_container(self, subject: Subject) -> None:
        with pytest.raises(InputError, match="does not run here"):
            subject.driver.exec("ins_never00001", ("true",))
        with pytest.raises(InputError, match="needs a command"):
            subject.driver.exec("ins_never00001", ())

    # Volumes put away and fetched -----------------------------------------------------------------

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
