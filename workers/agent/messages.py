"""A call as it arrives: checked field by field before anything is done with it."""

from dataclasses import dataclass

from runtime.driver import Fence
from runtime.errors import SpecInvalidError
from runtime.wire import JsonValue, from_wire

PROTOCOLS = frozenset({1})
RUN_LIMIT_CEILING = 3600.0


@dataclass(frozen=True, slots=True)
class CallMessage:
    """What is asked. run_limit: seconds the work may take, counted from now (clocks are not compared)."""

    name: str
    args: JsonValue
    run_limit: float
    fence: Fence | None

    def needed_fence(self) -> Fence:
        """The fence of a call that changes something; SpecInvalidError when it came without one."""
        if self.fence is None:
            raise SpecInvalidError(
                f"fence is missing; {self.name} changes something and needs epoch and number",
                field="fence",
            )
        return self.fence


def read(message: object) -> CallMessage:
    """Check a message from the queue; SpecInvalidError names the field that is wrong."""
    if not isinstance(message, dict):
        raise _wrong("message", type(message).__name__, "an object")
    if unknown := sorted(
        str(key) for key in message.keys() - {"v", "call", "args", "fence", "run_limit"}
    ):
        raise _wrong("message field", unknown[0], "one of v, call, args, fence, run_limit")
    version, name, run_limit = message.get("v"), message.get("call"), message.get("run_limit")
    if version not in PROTOCOLS:
        raise _wrong("v", version, f"one of {sorted(PROTOCOLS)}; update the older side")
    if not isinstance(name, str):
        raise _wrong("call", name, "the name of a call")
    if isinstance(run_limit, bool) or not isinstance(run_limit, int | float):
        raise _wrong("run_limit", run_limit, "a number of seconds")
    if not 0 < run_limit <= RUN_LIMIT_CEILING:
        raise _wrong("run_limit", run_limit, f"above 0 and at most {RUN_LIMIT_CEILING:g} seconds")
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
