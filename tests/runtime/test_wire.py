"""Values survive the wire, and what does not fit exactly is refused by name."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import SpecInvalidError
from runtime.specs import Fence, InstanceSpec
from runtime.statuses import ContainerState, InstanceStatus
from runtime.units import MIB, Limits, Sample
from runtime.wire import from_wire, to_wire

SPEC = InstanceSpec(
    instance_id="ins_0123456789",
    tenant="acme",
    image_digest="sha256:" + "a" * 64,
    published_port=10000,
    ceilings=Limits(500, 64 * MIB, 64, 100 * MIB),
    env=(("A", "1"), ("B", "two = 2")),
    volume="acme",
)
STATUS = InstanceStatus(
    "ins_0123456789", ContainerState.RUNNING, fence=Fence(1, 7), timings_ms={"total": 12.5}
)


@pytest.mark.parametrize(
    "value",
    [
        SPEC,
        STATUS,
        replace(STATUS, exit_code=137),
        Fence(2, 3),
        Sample("ins_0123456789", 1, 2, 3, 4, 5, 6, 7, 8, 9),
    ],
)
def test_a_value_is_the_same_after_the_wire(value: object) -> None:
    assert from_wire(type(value), json.loads(json.dumps(to_wire(value)))) == value


@given(env=st.lists(st.tuples(st.text(), st.text())), seconds=st.floats(allow_nan=False))
def test_any_text_and_number_survives(env: list[tuple[str, str]], seconds: float) -> None:
    value = replace(SPEC, env=tuple(env), health_timeout_seconds=seconds)
    assert from_wire(InstanceSpec, json.loads(json.dumps(to_wire(value)))) == value


def test_a_whole_number_is_taken_for_seconds() -> None:
    data = {**wire_spec(), "health_timeout_seconds": 20}
    assert from_wire(InstanceSpec, data).health_timeout_seconds == 20.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "InstanceSpec has the unknown field 'colour'"),
        ({"tenant": 7}, "InstanceSpec.tenant is 7; it must be str"),
        ({"published_port": "10000"}, "InstanceSpec.published_port is '10000'; it must be int"),
        ({"published_port": True}, "InstanceSpec.published_port is True; it must be int"),
        ({"ceilings": []}, r"InstanceSpec.ceilings is \[\]; it must be object"),
        ({"ceilings": {"cpu_millis": 1}}, "InstanceSpec.ceilings lacks the field 'memory_bytes'"),
        ({"env": [["A"]]}, r"InstanceSpec.env\[0\] is \['A'\]; it must be list of 2 items"),
        ({"env": "A=1"}, "InstanceSpec.env is 'A=1'; it must be tuple"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(SpecInvalidError, match=message):
        from_wire(InstanceSpec, {**wire_spec(), **change})


def test_a_missing_field_is_not_filled_in() -> None:
    data = wire_spec()
    del data["volume"]
    with pytest.raises(SpecInvalidError, match="lacks the field 'volume'"):
        from_wire(InstanceSpec, data)


def test_a_field_younger_than_the_other_side_is_sent_only_when_it_says_something() -> None:
    assert "writable_root" not in wire_spec()
    assert from_wire(InstanceSpec, wire_spec()).writable_root
    closed = replace(SPEC, writable_root=False)
    assert from_wire(InstanceSpec, to_wire(closed)) == closed


def test_a_state_that_does_not_exist_is_refused_with_those_that_do() -> None:
    data = to_wire(STATUS)
    assert isinstance(data, dict)
    with pytest.raises(SpecInvalidError, match="'absent' or 'starting' or 'running' or 'exited'"):
        from_wire(InstanceStatus, {**data, "state": "asleep"})


def test_a_value_without_wire_form_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="object has no wire form"):
        to_wire(object())


def wire_spec() -> dict[str, object]:
    data = to_wire(SPEC)
    assert isinstance(data, dict)
    return dict(data)
