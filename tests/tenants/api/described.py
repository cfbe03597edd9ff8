"""Holds answers of the API against its own description: the status is named there, and the body fits."""

import json
import re
from datetime import datetime
from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator, FormatChecker

# What any address may answer, whatever it is about: wrong method, media type, size, JSON, parameter; our own
# failures; the brakes; and 404 for what is no name of anything.
EVERYWHERE = {
    400: {"parse_error"},
    404: {"not_found"},
    405: None,
    413: None,
    415: None,
    422: {"invalid"},
}
EVERYWHERE |= {
    429: {"throttled"},
    401: None,
    403: {"permission_denied"},
    500: None,
    503: {"unavailable"},
}
_CHECKER = FormatChecker(())


@_CHECKER.checks("date-time", ValueError)  # type: ignore[untyped-decorator]
def _is_moment(text: object) -> bool:
    return not isinstance(text, str) or datetime.fromisoformat(text).tzinfo is not None


@cache
def description() -> Any:
    """The description as it is generated."""
    return SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]


def faults(method: str, path: str, status: int, content: bytes) -> list[str]:
    """What of an answer the description does not say; [] when all of it fits, or the address is none."""
    operation = _operation(method, path.partition("?")[0])
    if operation is None:
        return []
    body: Any = json.loads(content) if content else None
    described = operation["responses"].get(str(status))
    if described is None:
        codes = EVERYWHERE.get(status, set())
        if codes is not None and body.get("code") not in codes:
            return [f"{method} {path} answered {status}, which is not described"]
        return misfits({"$ref": "#/components/schemas/Problem"}, body)
    media = next(iter(described.get("content", {}).values()), None)
    if media is None:
        return [] if body is None else [f"{method} {path} answered a body; none is described"]
    return misfits(media["schema"], body)


def misfits(schema: Any, value: Any) -> list[str]:
    """Where a value does not fit a schema of the description, which is taken strictly: no other fields."""
    strict = _strict({**schema, "components": description()["components"]})
    found = Draft202012Validator(strict, format_checker=_CHECKER).iter_errors(value)
    return [f"{one.json_path}: {one.message[:200]}" for one in found]


def schema_of_request(method: str, path: str) -> Any:
    """The schema of what may be sent to an address; None when it takes no body."""
    operation = _operation(method, path)
    sent = operation and operation.get("requestBody")
    return sent and sent["content"]["application/json"]["schema"]


def _operation(method: str, path: str) -> Any:
    paths: Any = description()["paths"]
    for template, operations in paths.items():
        if re.fullmatch(re.sub(r"{\w+}", "[a-z0-9_-]+", template), path):
            return operations.get(method.lower())
    return None


def _strict(schema: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema: null where it may be, and no field that is not named."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _strict(one) for name, one in schema.items() if name != "nullable"}
    if "properties" in plain and plain.get("type") == "object":
        plain.setdefault("additionalProperties", False)
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain
