"""A call as it is sent, and as it arrives: checked field by field before anything is done with it."""

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.errors import SpecInvalidError
from runtime.specs import Fence
from runtime.wire import JsonValue, from_wire

PROTOCOL = 1
LONGEST_RUN_LIMIT = 3600.0
_FIELDS = ("v", "call", "args", "fence", "run_limit")


@dataclass(frozen=True, slots=True)
class CallMessage:
    """What is asked. run_limit: seconds the work may take, counted from now (clocks are not compared)."""

    name: str
    args: JsonValue
    run_limit: float
    fence: Fence | None

    def needed_fence(self) -> Fence:
        """Return the fence of a call that changes something; SpecInvalidError when it came without one."""
        if self.fence is None:
            raise SpecInvalidError(
                f"fence is missing; {self.name} changes something and needs epoch and number",
                field="fence",
            )
        return self.fence


def written(
    name: str, args: Mapping[str, JsonValue], run_limit: float, fence: tuple[int, int] | None
) -> dict[str, JsonValue]:
    """Return the message of a call. fence: (epoch, number), or None where nothing changes."""
    message: dict[str, JsonValue] = {
        "v": PROTOCOL,
        "call": name,
        "args": dict(args),
        "run_limit": run_limit,
    }
    if fence is not None:
        message["fence"] = {"epoch": fence[0], "number": fence[1]}
    return message


def read(message: object) -> CallMessage:
    """Check a message from the queue; SpecInvalidError names the field that is wrong."""
    if not isinstance(message, dict):
        raise _wrong("message", type(message).__name__, "an object")
    if unknown := sorted(str(key) for key in message.keys() - {*_FIELDS}):
        raise _wrong("message field", unknown[0], f"one of {', '.join(_FIELDS)}")
    version, name, run_limit = message.get("v"), message.get("call"), message.get("run_limit")
    if version != PROTOCOL:
        raise _wrong("v", version, f"one of {[PROTOCOL]}; update the older side")
    if not isinstance(name, str):
        raise _wrong("call", name, "the name of a call")
    if isinstance(run_limit, bool) or not isinstance(run_limit, int | float):
        raise _wrong("run_limit", run_limit, "a number of seconds")
    if not 0 < run_limit <= LONGEST_RUN_LIMIT:
        raise _wrong("run_limit", run_limit, f"above 0 and at most {LONGEST_RUN_LIMIT:g} seconds")
    return CallMessage(name, message.get("args"), float(run_limit), _fence(message.get("fence")))


def _fence(data: object) -> Fence | None:
    if data is None:
        return None
    fence = from_wire(Fence, data)
    if fence.epoch < 0 or fence.number < 0:
        raise _wrong("fence", data, "two numbers of 0 or more")
    return fence


def _wrong(field: str, value: object, right: str) -> SpecInvalidError:
    return SpecInvalidError(f"{field} is {str(value)[:80]!r}; it must be {right}", field=field)
