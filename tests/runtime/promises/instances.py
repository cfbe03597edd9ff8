"""Running, replacing, stopping and looking at instances."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from runtime.errors import (
    ExitedError,
    ImageUnknownError,
    InputError,
    LimitInUseError,
    SpecInvalidError,
    StaleFenceError,
    UnhealthyError,
)
from runtime.specs import Fence, VolumeFate
from runtime.statuses import ContainerState
from runtime.units import KIB, MIB, Limits
from tests.runtime.promises.subject import FIRST, Subject

_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z (out|err) .*")


class InstancePromises:
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
