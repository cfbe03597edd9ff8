"""An answer, as it is made and as it is read: always a value to Celery, which builds no exception anew."""

import json
import logging
from collections.abc import Callable

from runtime.errors import HostError, RuntimeCoreError, by_code
from runtime.wire import JsonValue, to_wire
from workers.agents.common.messages import PROTOCOL

log = logging.getLogger(__name__)

_MESSAGE_LIMIT = 2000
_DETAILS_LIMIT = 64 * 1024

Envelope = dict[str, JsonValue]


def answer(work: Callable[[], object], *, what: str) -> Envelope:
    """Do the work and put its value, or the error it ended in, into an envelope.

    what: a few words for the log; never arguments, which may hold secrets.
    """
    try:
        return {"v": PROTOCOL, "ok": True, "value": to_wire(work())}
    except RuntimeCoreError as error:
        log.warning("%s: %s: %s", what, error.code, error.message)
        return _refusal(error.code, error.message, _details(error.details))
    except Exception as error:
        # The last line before Celery: whatever it is, the caller gets an answer and the log the trace.
        log.exception("%s failed unexpectedly", what)
        return _refusal("runtime", f"{type(error).__name__}: {error}", {})


def opened(envelope: JsonValue) -> JsonValue | RuntimeCoreError:
    """Return the value in an answer, or the error it stands for. The answer is input: nothing is believed."""
    if not isinstance(envelope, dict) or envelope.get("v") != PROTOCOL:
        return HostError("the agent's answer is not one this control plane understands")
    if envelope.get("ok") is True:
        return envelope.get("value")
    code, message, details = (envelope.get(name) for name in ("code", "message", "details"))
    if not isinstance(code, str) or not isinstance(message, str):
        return HostError("the agent's answer is neither a value nor an error")
    known = by_code().get(code, HostError)
    return known(message[:_MESSAGE_LIMIT], **(details if isinstance(details, dict) else {}))


def _refusal(code: str, message: str, details: JsonValue) -> Envelope:
    return {
        "v": PROTOCOL,
        "ok": False,
        "code": code,
        "message": message[:_MESSAGE_LIMIT],
        "details": details,
    }


def _details(details: dict[str, object]) -> JsonValue:
    """Details as JSON; what has no form in it is written as text, what is too much left out."""
    text = json.dumps(details, default=str)
    if len(text) > _DETAILS_LIMIT:
        return {"left_out": f"{len(text)} bytes of details"}
    plain: JsonValue = json.loads(text)
    return plain
