"""The one way from a message to the method it names, and back to an envelope; hosts and edges share it."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from runtime.errors import SpecInvalidError
from runtime.wire import from_wire
from workers.agents.common.envelope import Envelope, answer
from workers.agents.common.messages import CallMessage, read
from workers.agents.common.methods import Args, Method

log = logging.getLogger(__name__)


class Calls(ABC):
    """Answers calls by a table of methods. Thread-safe when _carry_out is.

    task: the Celery task's name, for the log and the error messages.
    """

    def __init__(self, task: str, methods: Mapping[str, Method[Any, Any]]) -> None:
        self._task = task
        self._methods = methods

    def call(self, message: object) -> Envelope:
        """Carry out one message from the queue; errors are answers too."""
        began = time.monotonic()
        name = str(message.get("call"))[:40] if isinstance(message, dict) else "?"
        envelope = answer(lambda: self._dispatch(read(message)), what=f"{self._task} {name}")
        taken = (time.monotonic() - began) * 1000
        outcome = "ok" if envelope["ok"] else "refused"
        log.info("%s %s %s %.1f ms", self._task, name, outcome, taken)
        return envelope

    def _dispatch(self, call: CallMessage) -> object:
        method = self._methods.get(call.name)
        if method is None:
            known = ", ".join(self._methods)
            raise SpecInvalidError(
                f"call is {call.name!r}; it must be one of {known}", field="call"
            )
        args: Args = from_wire(method.args, call.args)
        args.check()
        return self._carry_out(method, args.within(call.run_limit), call)

    @abstractmethod
    def _carry_out(self, method: Method[Args, object], args: Args, call: CallMessage) -> object:
        """Do what is asked; its result."""
