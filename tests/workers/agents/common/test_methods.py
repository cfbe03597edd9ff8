"""An agent's methods are one table: what control sends and what an agent does both come from it.

recorded_calls.json holds the messages and answers of the version before the table; both sides still speak it.
"""

import inspect
import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from runtime.driver import Driver
from runtime.errors import HostOutdatedError, SpecInvalidError
from runtime.specs import Fence
from runtime.wire import from_wire
from tests.workers import every_call
from tests.workers.every_call import VALUES, Recorder, act, answered, sent
from workers.agents.edge.methods import OF_EDGES
from workers.agents.host.methods import ADOPT, OF_HOSTS
from workers.rpc.drivers import RemoteDriver

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent.parent / "recorded_calls.json").read_text()
)
METHODS = {**OF_HOSTS, **OF_EDGES}
ASKED = {**every_call.HOST, **every_call.EDGE}


def _driver_methods() -> set[str]:
    return {name for name in vars(Driver) if not name.startswith("_")}


def test_the_table_is_the_drivers_promise_and_adopt() -> None:
    assert set(OF_HOSTS) == _driver_methods() | {ADOPT.name}
    assert set(METHODS) == set(VALUES) == set(RECORDED)


@pytest.mark.parametrize("name", sorted(_driver_methods()))
def test_a_method_has_the_arguments_and_the_result_that_the_driver_has(name: str) -> None:
    method = OF_HOSTS[name]
    promised = get_type_hints(getattr(Driver, name))
    result = promised.pop("return")
    assert (promised.pop("fence", None) is Fence) == method.is_fenced
    told = get_type_hints(method.args)
    assert {one.name: told[one.name] for one in fields(method.args)} == promised
    assert method.result == result
    assert list(inspect.signature(getattr(RemoteDriver, name)).parameters) == list(
        inspect.signature(getattr(Driver, name)).parameters
    )


@pytest.mark.parametrize("name", sorted(ASKED))
def test_control_sends_what_agents_of_the_version_before_read(name: str) -> None:
    assert sent(name) == RECORDED[name]["message"]


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_an_agent_does_and_answers_what_it_did_before(name: str) -> None:
    asked, answer = answered(name, RECORDED[name]["message"])
    assert asked == RECORDED[name]["asked"]
    assert answer == RECORDED[name]["answer"]


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_the_answer_of_an_agent_of_the_version_before_is_read(name: str) -> None:
    value = from_wire(METHODS[name].result, RECORDED[name]["answer"]["value"])
    if name in every_call.HOST:
        assert value == VALUES[name]
        assert act(name, Recorder(RECORDED[name]["answer"]["value"], is_there=True)) == value


@pytest.mark.parametrize("name", sorted(ASKED))
def test_a_call_is_fenced_and_bounded_as_the_table_says(name: str) -> None:
    message, method = RECORDED[name]["message"], METHODS[name]
    assert ("fence" in message) == method.is_fenced
    args: Any = from_wire(method.args, message["args"])
    assert message["run_limit"] == method.limit(args)
    if method.is_fenced:
        _, answer = answered(name, {**message, "fence": None})
        assert (answer["ok"], answer["code"]) == (False, "spec_invalid")


@pytest.mark.parametrize("name", sorted(OF_HOSTS))
def test_an_agent_that_has_never_heard_of_a_method_is_told_to_be_outdated(name: str) -> None:
    _, answer = answered(name, {**RECORDED[name]["message"], "call": "unheard_of"})
    assert answer["code"] == "spec_invalid"
    assert isinstance(answer["message"], str)
    error = SpecInvalidError(answer["message"], field="call")

    class Older(Recorder):
        def ask(self, call: object) -> Any:
            raise error

    if name in every_call.HOST:
        with pytest.raises(HostOutdatedError, match="update the host's agent"):
            act(name, Older())


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_an_argument_too_many_or_too_few_is_refused(name: str) -> None:
    message = RECORDED[name]["message"]
    wrong: list[Any] = [message["args"] | {"unheard_of": 1}, [], None]
    wrong.append(dict([*message["args"].items()][1:]))
    for args in wrong:
        if args != message["args"]:
            asked, answer = answered(name, {**message, "args": args})
            assert (asked, answer["code"]) == ({}, "spec_invalid")
