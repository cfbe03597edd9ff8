"""What calls do and how bad ones are refused, without a broker."""

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import ExitedError, UnhealthyError
from runtime.specs import Fence, InstanceSpec
from runtime.statuses import ContainerState, InstanceStatus
from runtime.units import MIB, Limits
from runtime.volume_requests import VolumeLoad, VolumePart, VolumeSave, VolumeSaved
from runtime.wire import JsonValue, from_wire, to_wire
from tests.support.fake_driver import FakeDriver
from workers.agents.common import messages
from workers.agents.common.envelope import Envelope, answer
from workers.agents.host.handlers import HostCalls

INSTANCE = "ins_00000001"
SPEC = InstanceSpec(
    instance_id=INSTANCE,
    tenant="acme",
    image_digest="sha256:" + "0" * 64,
    published_port=20000,
    ceilings=Limits(500, 64 * MIB, 32, 128 * MIB),
    env=(("STOA_TENANT", "acme"),),
    health_timeout_seconds=5.0,
)


def message(
    name: str, args: JsonValue = None, *, run_limit: float = 30, fence: JsonValue = None
) -> dict[str, JsonValue]:
    return {
        "v": 1,
        "call": name,
        "args": {} if args is None else args,
        "run_limit": run_limit,
        "fence": fence if fence is not None else {"epoch": 1, "number": 1},
    }


def ask(driver: FakeDriver, name: str, args: JsonValue = None, **rest: float) -> Envelope:
    return HostCalls(driver).call(message(name, args, **rest))


def test_every_method_of_the_driver_can_be_called_and_answers_in_wire_form() -> None:
    driver = FakeDriver()
    started = ask(driver, "ensure_running", {"spec": to_wire(SPEC)})
    assert started["ok"] is True
    status = from_wire(InstanceStatus, started["value"])
    assert status.state is ContainerState.RUNNING
    one: JsonValue = {"instance_id": INSTANCE}
    others: dict[str, JsonValue] = {
        "status": one,
        "list": {},
        "samples": {},
        "images": {},
        "ensure_image": {"digest": SPEC.image_digest, "source": ""},
        "collect_images": {"keep": [SPEC.image_digest]},
        "logs": {"instance_id": INSTANCE, "lines": 5},
        "exec": {"instance_id": INSTANCE, "argv": ["true"], "timeout_seconds": 5.0},
        "ensure_stopped": {"instance_id": INSTANCE, "grace_seconds": 1},
        "ensure_absent": {"instance_id": INSTANCE, "volume": "delete", "grace_seconds": 1.5},
    }
    for name, args in others.items():
        assert ask(driver, name, args)["ok"] is True, name
    assert driver.list() == ()


def test_a_volume_is_put_away_and_fetched_by_calls(tmp_path: Path) -> None:
    driver = FakeDriver()
    driver.ensure_running(replace(SPEC, volume="acme", new_volume=True), fence=Fence(1, 1))
    driver.contents["acme"]["orders"] = b"one"
    save = VolumeSave("acme", "snp_00000001", "", f"file://{tmp_path}/archive")
    told = ask(driver, "save_volume", {"save": to_wire(save)})
    saved = from_wire(VolumeSaved, told["value"])
    ask(driver, "ensure_absent", {"instance_id": INSTANCE, "volume": "delete", "grace_seconds": 1})
    part = VolumePart(saved.snapshot, saved.sha256, saved.archive_bytes, save.put_url)
    load = VolumeLoad(INSTANCE, "acme", (part,), 1000, 0, 0)
    assert ask(driver, "load_volume", {"load": to_wire(load)})["ok"] is True
    assert driver.contents["acme"] == {"orders": b"one"}
    wrong = replace(load, volume="../etc")
    assert refusal(ask(driver, "load_volume", {"load": to_wire(wrong)})) == (
        "spec_invalid",
        "tenant",
    )


def refusal(envelope: Envelope) -> tuple[object, object]:
    assert envelope["ok"] is False
    assert isinstance(envelope["details"], dict)
    return envelope["code"], envelope["details"].get("field")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"v": 2}, "v"),
        ({"v": None}, "v"),
        ({"call": 7}, "call"),
        ({"call": "frobnicate"}, "call"),
        ({"run_limit": "30"}, "run_limit"),
        ({"run_limit": True}, "run_limit"),
        ({"run_limit": 0}, "run_limit"),
        ({"run_limit": float("nan")}, "run_limit"),
        ({"run_limit": 1e9}, "run_limit"),
        ({"fence": {"epoch": 1}}, "Fence.number"),
        ({"fence": {"epoch": -1, "number": 1}}, "fence"),
        ({"fence": None}, "fence"),
        ({"args": None}, "EnsureRunning"),
        ({"args": {"spec": {}}}, "EnsureRunning.spec.instance_id"),
        ({"surprise": 1}, "message field"),
    ],
)
def test_a_message_that_is_wrong_is_refused_by_the_name_of_its_field(
    wrong: dict[str, JsonValue], field: str
) -> None:
    driver = FakeDriver()
    whole = message("ensure_running", {"spec": to_wire(SPEC)}) | wrong
    assert refusal(HostCalls(driver).call(whole)) == ("spec_invalid", field)
    assert driver.list() == ()


@pytest.mark.parametrize("whole", [None, [], "ensure_running", 7])
def test_what_is_no_message_at_all_gets_an_answer_too(whole: object) -> None:
    assert refusal(HostCalls(FakeDriver()).call(whole))[0] == "spec_invalid"


def test_a_bad_spec_is_refused_before_the_driver_hears_of_it() -> None:
    driver = FakeDriver()
    spec = to_wire(SPEC)
    assert isinstance(spec, dict)
    answer_ = ask(driver, "ensure_running", {"spec": spec | {"published_port": 70000}})
    assert refusal(answer_) == ("spec_invalid", "published_port")
    assert driver.calls == []


@pytest.mark.parametrize("name", ["status", "logs", "ensure_stopped", "ensure_absent", "exec"])
def test_an_instance_id_that_could_leave_its_directory_is_refused(name: str) -> None:
    extra: dict[str, dict[str, JsonValue]] = {
        "logs": {"lines": 1},
        "ensure_stopped": {"grace_seconds": 1},
        "ensure_absent": {"grace_seconds": 1, "volume": "keep"},
        "exec": {"argv": ["true"], "timeout_seconds": 1},
    }
    args: JsonValue = {"instance_id": "../../etc", **extra.get(name, {})}
    assert refusal(ask(FakeDriver(), name, args)) == ("spec_invalid", "instance_id")


def test_a_run_limit_shorter_than_the_health_time_is_refused() -> None:
    answer_ = ask(FakeDriver(), "ensure_running", {"spec": to_wire(SPEC)}, run_limit=4)
    assert refusal(answer_) == ("spec_invalid", "run_limit")


def test_grace_and_exec_times_are_cut_to_the_run_limit() -> None:
    class Listening(FakeDriver):
        def ensure_stopped(
            self, *args: object, grace_seconds: float = 0, **rest: object
        ) -> InstanceStatus:
            self.heard = grace_seconds
            return InstanceStatus(INSTANCE, ContainerState.EXITED)

    driver = Listening()
    ask(driver, "ensure_stopped", {"instance_id": INSTANCE, "grace_seconds": 60}, run_limit=10)
    assert driver.heard == 9


def test_an_older_fence_is_answered_as_stale() -> None:
    driver = FakeDriver()
    calls = HostCalls(driver)
    args: JsonValue = {"spec": to_wire(SPEC)}
    assert (
        calls.call(message("ensure_running", args, fence={"epoch": 1, "number": 5}))["ok"] is True
    )
    late = calls.call(message("ensure_running", args, fence={"epoch": 1, "number": 4}))
    assert refusal(late)[0] == "stale_fence"


def test_reading_needs_no_fence() -> None:
    whole = message("list")
    del whole["fence"]
    assert HostCalls(FakeDriver()).call(whole)["ok"] is True


def fail(error: Exception) -> Envelope:
    def work() -> object:
        raise error

    return answer(work, what="a test")


def test_an_error_of_the_runtime_keeps_its_code_and_details() -> None:
    assert fail(ExitedError("it ended", exit_code=3, log_lines=("a", "b"))) == {
        "v": 1,
        "ok": False,
        "code": "exited",
        "message": "it ended",
        "details": {"exit_code": 3, "log_lines": ["a", "b"]},
    }


def test_details_without_a_form_in_json_and_too_large_ones_still_answer() -> None:
    assert fail(UnhealthyError("x", what=object()))["ok"] is False
    assert fail(UnhealthyError("x", log="y" * 100_000))["details"] == {
        "left_out": "100011 bytes of details"
    }
    assert len(str(fail(UnhealthyError("m" * 9000))["message"])) == 2000


def test_an_unexpected_exception_is_answered_as_runtime_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    envelope = fail(ZeroDivisionError("by zero"))
    assert (envelope["code"], envelope["message"]) == ("runtime", "ZeroDivisionError: by zero")
    assert any(record.exc_info for record in caplog.records)


def test_the_log_names_the_call_and_never_its_arguments(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    spec = to_wire(SPEC)
    assert isinstance(spec, dict)
    ask(FakeDriver(), "ensure_running", {"spec": spec | {"env": [["SECRET", "hunter2"]]}})
    assert "ensure_running" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_message_without_fence_is_read_as_none() -> None:
    assert messages.read({"v": 1, "call": "list", "args": {}, "run_limit": 1}).fence is None
