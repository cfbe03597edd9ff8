"""The one way from a message to the verb it names, and back to an envelope; hosts and edges share it."""

import logging
import time
from collections.abc import Callable, Mapping

from runtime.errors import SpecInvalidError
from workers.agent.envelope import Envelope, answer
from workers.agent.messages import CallMessage, read

log = logging.getLogger(__name__)

Verb = Callable[[CallMessage], object]


class Calls:
    """Answers calls by a table of verbs. Thread-safe when the verbs are.

    task: the Celery task's name, for the log and the error messages.
    """

    def __init__(self, task: str, verbs: Mapping[str, Verb]) -> None:
        self._task = task
        self._verbs = verbs

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
        verb = self._verbs.get(call.name)
        if verb is None:
            known = ", ".join(self._verbs)
            raise SpecInvalidError(
                f"call is {call.name!r}; it must be one of {known}", field="call"
            )
        return verb(call)
