"""Driver values as JSON and back, strictly: what does not fit exactly is refused, not guessed.

Both sides of a driver call use it, and the files of a bundle are written with it. A message from
another machine is input: unknown, missing or wrongly typed fields raise SpecInvalidError.

A field that joined a class later is marked LATER. It is left out while it has its default, so that a
side one version behind still understands, and filled in where the other side is the one behind.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache

from runtime.errors import SpecInvalidError

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

T = typing.TypeVar("T")
LATER = types.MappingProxyType({"later": True})


def to_wire(value: object) -> JsonValue:
    """Return a dataclass, enum, tuple, dict or plain value as something json.dumps takes."""
    if isinstance(value, Enum):
        return to_wire(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value):
        return {
            field.name: to_wire(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if "later" not in field.metadata or getattr(value, field.name) != field.default
        }
    if isinstance(value, tuple | list):
        return [to_wire(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_wire(item) for key, item in value.items()}
    raise TypeError(f"{type(value).__name__} has no wire form")


def from_wire(cls: type[T], data: object) -> T:
    """Return the value of class cls that data stands for; SpecInvalidError names the field that does not
    fit.
    """
    where = getattr(cls, "__name__", "value")
    try:
        built: T = _read(cls, data, where=where)
    except RecursionError:
        raise SpecInvalidError(f"{where} is nested too deeply", field=where) from None
    return built


def parsed(text: str | bytes) -> typing.Any:
    """Parse JSON from outside. Raises ValueError for what is none, and for what is nested too deeply: json
    raises RecursionError for that, which nobody expects of a text.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def storable(value: JsonValue) -> JsonValue:
    """Return a value as it can be written down: text that came from a tenant or from another machine may hold
    what PostgreSQL takes in no text, NUL and halves of characters. RecursionError for what is too deep.
    """
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [storable(element) for element in value]
    if isinstance(value, dict):
        return {str(storable(key)): storable(element) for key, element in value.items()}
    return value


def _read(kind: typing.Any, data: object, *, where: str) -> typing.Any:
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, data, where=where)
    origin = typing.get_origin(kind)
    if origin is not None:
        return _read_generic(origin, typing.get_args(kind), data, where=where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _read_enum(kind, data, where=where)
    if kind is float and type(data) is int:
        return float(data)  # JSON has one kind of number; 20.0 may come back as 20
    if type(data) is kind or (kind is type(None) and data is None):
        return data
    raise _refused(where, data, kind.__name__)


def _read_generic(
    origin: typing.Any,
    args: tuple[typing.Any, ...],
    data: object,
    *,
    where: str,
) -> typing.Any:
    if origin in (types.UnionType, typing.Union):
        if data is None and type(None) in args:
            return None
        (kind,) = (arg for arg in args if arg is not type(None))
        return _read(kind, data, where=where)
    if origin is tuple and isinstance(data, list | tuple):
        return _read_tuple(args, data, where=where)
    if origin is dict and isinstance(data, dict):
        key, item = args
        return {
            _read(key, name, where=f"{where} key"): _read(item, value, where=f"{where}.{name}")
            for name, value in data.items()
        }
    raise _refused(where, data, origin.__name__)


def _read_tuple(
    args: tuple[typing.Any, ...], data: list[object] | tuple[object, ...], *, where: str
) -> tuple[typing.Any, ...]:
    if len(args) == 2 and args[1] is Ellipsis:
        kinds = (args[0],) * len(data)
    elif len(args) == len(data):
        kinds = args
    else:
        raise _refused(where, list(data), f"list of {len(args)} items")
    return tuple(
        _read(kind, item, where=f"{where}[{index}]")
        for index, (kind, item) in enumerate(zip(kinds, data, strict=True))
    )


def _read_dataclass(kind: typing.Any, data: object, *, where: str) -> typing.Any:
    if not isinstance(data, dict):
        raise _refused(where, data, "object")
    kinds = _fields(kind)
    unknown = sorted(str(name) for name in data.keys() - kinds.keys())
    if unknown:
        raise SpecInvalidError(
            f"{where} has the unknown field {unknown[0]!r}; it may have {', '.join(kinds)}",
            field=f"{where}.{unknown[0]}",
        )
    missing = [name for name in kinds if name not in data and name not in _later(kind)]
    if missing:
        raise SpecInvalidError(
            f"{where} lacks the field {missing[0]!r}", field=f"{where}.{missing[0]}"
        )
    return kind(
        **{name: _read(kinds[name], item, where=f"{where}.{name}") for name, item in data.items()}
    )


def _read_enum(kind: type[Enum], data: object, *, where: str) -> Enum:
    try:
        return kind(data)
    except ValueError:
        raise _refused(where, data, " or ".join(repr(member.value) for member in kind)) from None


@cache
def _fields(kind: type) -> dict[str, typing.Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@cache
def _later(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(kind) if "later" in field.metadata)


def _refused(where: str, data: object, wanted: str) -> SpecInvalidError:
    shown = repr(data)[:80]
    return SpecInvalidError(f"{where} is {shown}; it must be {wanted}", field=where)
