"""Logging of every control program: one JSON object a line on stdout, and no secrets in it."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET_NAMES = re.compile(r"password|secret|token|authorization|cookie|fernet|first_login", re.I)
_IN_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]*@")
_BEARER = re.compile(r"\b(Bearer\s+)\S+|\bstoa_[0-9a-z]+_\S+", re.I)
# Whoever has such an address may do what it allows until it expires.
_SIGNED = re.compile(r"([?&](?:X-Amz-)?Signature=)[^&\s'\"<>]+", re.I)
HIDDEN = "[hidden]"

_Event = MutableMapping[str, Any]


def hide_secrets(_logger: object, _method: str, event: _Event) -> _Event:
    """Hide values under telling names, and credentials inside text (a structlog processor)."""
    for name, value in event.items():
        if name != "event" and _SECRET_NAMES.search(name):
            event[name] = HIDDEN
        elif isinstance(value, str):
            hidden = _IN_URL.sub(rf"\g<scheme>{HIDDEN}@", value)
            hidden = _SIGNED.sub(rf"\g<1>{HIDDEN}", hidden)
            event[name] = _BEARER.sub(lambda found: (found[1] or "") + HIDDEN, hidden)
    return event


def configure(*, program: str, level: str, as_json: bool) -> None:
    """Send structlog and the standard library's logging through one formatter to stdout."""

    def name_program(_logger: object, _method: str, event: _Event) -> _Event:
        event.setdefault("program", program)
        return event

    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        name_program,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                hide_secrets,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Celery tells of every task twice; ours say themselves what they did.
    for chatty in ("httpx", "httpcore", "asyncio", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
