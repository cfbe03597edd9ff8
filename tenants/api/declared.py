"""Makes the check, the JSON and the description of a body from one frozen dataclass (docs/decisions/0046).

A field's type says what it holds; `About` in an Annotated type says the rest. Both become a serializer of
REST framework. It checks requests, and drf-spectacular describes it.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from datetime import date, datetime
from enum import Enum
from functools import cache
from types import UnionType
from typing import (
    Annotated,
    Any,
    Generic,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from drf_spectacular.extensions import OpenApiSerializerExtension
from rest_framework import serializers as s
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

T = TypeVar("T")


class LeftOut(Enum):
    """The value of a field that may be left out, when it was."""

    LEFT_OUT = "left out"


LEFT_OUT = LeftOut.LEFT_OUT


class About:
    """What a field's type does not say: a description, and rules of REST framework's field.

    field: another class of field than the type's own.
    """

    def __init__(self, description: str = "", **rules: Any) -> None:
        self.rules = rules | ({"help_text": description} if description else {})


class Text(s.CharField):
    """A text; CharField would take a number for one, which the description does not allow."""

    def to_internal_value(self, data: object) -> str:
        """Return the text. Raises ValidationError for anything else."""
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class Number(s.IntegerField):
    """A whole number; IntegerField would take a text for one."""

    def to_internal_value(self, data: Any) -> int:
        """Return the number. Raises ValidationError for anything else."""
        if isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


Url = Annotated[str, About(field=s.URLField)]

_FIELDS: dict[type, type[s.Field[Any, Any, Any, Any]]] = {
    str: Text,
    int: Number,
    float: s.FloatField,
    bool: s.BooleanField,
    datetime: s.DateTimeField,
    date: s.DateField,
}


class Declared(s.Serializer[Any]):
    """The serializer of a dataclass."""


@cache
def serializer_of(kind: type[Any]) -> type[Declared]:
    """Return the serializer of a dataclass; the description names it as the class, without "Body"."""
    hints = get_type_hints(kind, include_extras=True)
    made = {_name(field): _field(hints[field.name], _default(field)) for field in fields(kind)}
    own = {"__doc__": kind.__doc__, "__module__": kind.__module__}
    return type(kind.__name__.removesuffix("Body"), (Declared,), made | own)


def checked(kind: type[T], sent: object, *, is_strict: bool = True) -> T:
    """Check what was sent and return the dataclass. Raises ValidationError, which names each wrong field.

    is_strict: refuse fields that the dataclass does not have; a typing error would pass unseen.
    """
    if is_strict:
        _refuse_unknown(kind, sent)
    serializer = serializer_of(cast("Any", kind))(data=sent)
    serializer.is_valid(raise_exception=True)
    return _built(kind, serializer.validated_data)


@dataclass(frozen=True, slots=True)
class Sent(Generic[T]):
    """The body of a request, not yet looked at."""

    kind: type[T]
    request: Request

    def checked(self) -> T:
        """Return the body as its dataclass. Raises ValidationError, which names each wrong field."""
        return checked(self.kind, self.request.data)


def filled(kind: type[T], row: object, /, **others: Any) -> T:
    """Return the body of a row. Fields that are not in others are attributes of the row by the same name."""
    own = {
        field.name: getattr(row, field.name)
        for field in fields(cast("Any", kind))
        if field.name not in others
    }
    return kind(**own, **others)


def as_json(body: Any) -> dict[str, Any]:
    """Return a body's fields by name, without those left out. The values stay as they are."""
    values = ((_name(field), getattr(body, field.name)) for field in fields(body))
    return {name: value for name, value in values if value is not LEFT_OUT}


class _Encoder(JSONEncoder):
    def default(self, obj: Any) -> Any:
        """Return what json can write in the place of a dataclass, a time or a lazy text."""
        return as_json(obj) if is_dataclass(obj) else super().default(obj)


class BodyRenderer(JSONRenderer):
    """JSON in which dataclasses may stand anywhere."""

    encoder_class = _Encoder


class DeclaredExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Describes what drf-spectacular does not see: we refuse unknown fields and empty texts."""

    target_class = Declared
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: str) -> Any:
        """Return the schema object of a body."""
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)  # noqa: SLF001 - how its own extensions do it
        if direction == "request":
            schema["additionalProperties"] = False
            for name, field in self.target.fields.items():
                if isinstance(field, s.CharField) and not field.allow_blank:
                    schema["properties"][name].setdefault("minLength", 1)
        return schema


def _name(field: Field[Any]) -> str:
    """Return a field's name in JSON: `for_` stands for a keyword of Python."""
    return field.name.removesuffix("_")


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory


def _field(hint: Any, default: Any = MISSING) -> Any:
    kind, rules = _taken_apart(hint)
    if default is not MISSING:
        rules = rules | {"required": False}
        if default is not LEFT_OUT:
            rules = rules | {"default": default}
    return _field_of(kind, rules)


def _field_of(kind: Any, rules: dict[str, Any]) -> Any:
    if chosen := rules.pop("field", None):
        return chosen(**rules)
    if issubclass(get_origin(kind) or kind, Enum):
        rules["choices"] = kind.choices
    if "choices" in rules:
        return _choice(rules)
    if is_dataclass(kind):
        assert isinstance(kind, type)  # noqa: S101 - for mypy
        return serializer_of(kind)(**rules)
    if get_origin(kind) is tuple:
        return s.ListField(child=_field(get_args(kind)[0]), **rules)
    if get_origin(kind) is Mapping:
        return s.DictField(child=_field(get_args(kind)[1]), **rules)
    return _FIELDS[kind](**rules)


def _choice(rules: dict[str, Any]) -> s.ChoiceField:
    known = ", ".join(map(str, s.ChoiceField(choices=rules["choices"]).choices))
    words = f"“{{input}}” is not known here; it must be one of {known}"
    # Given to the field, because REST framework makes fields anew from what they were given.
    return s.ChoiceField(error_messages={"invalid_choice": words}, **rules)


def _taken_apart(hint: Any) -> tuple[Any, dict[str, Any]]:
    """Return the plain type in a hint, and the rules of its notes; `| None` is the rule allow_null."""
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        inner, rules = _taken_apart(kind)
        for note in notes:
            rules |= note.rules if isinstance(note, About) else {}
        return inner, rules
    if get_origin(hint) in (Union, UnionType):
        (kind,) = (kind for kind in get_args(hint) if kind not in (type(None), LeftOut))
        inner, rules = _taken_apart(kind)
        return inner, rules | ({"allow_null": True} if type(None) in get_args(hint) else {})
    return hint, {}


def _built(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return the dataclass of checked values; what is not among them keeps its default."""
    hints = get_type_hints(kind, include_extras=True)
    return kind(
        **{
            field.name: _value(_taken_apart(hints[field.name])[0], values[_name(field)])
            for field in fields(kind)  # type: ignore[arg-type]
            if _name(field) in values
        }
    )


def _value(kind: Any, value: Any) -> Any:
    if value is not None and is_dataclass(kind):
        return _built(kind, value)  # type: ignore[arg-type]
    return kind(value) if isinstance(kind, type) and issubclass(kind, Enum) else value


def _refuse_unknown(kind: type, sent: object, where: str = "") -> None:
    if not isinstance(sent, dict):
        return
    known = {_name(field): field.name for field in fields(kind)}
    for name in sorted(sent.keys() - known):
        words = f"there is no such field here; there are: {', '.join(known)}"
        raise s.ValidationError({f"{where}{name}"[:60]: words})
    hints = get_type_hints(kind, include_extras=True)
    for name, value in sent.items():
        inner, _ = _taken_apart(hints[known[name]])
        if is_dataclass(inner) and isinstance(inner, type):
            _refuse_unknown(inner, value, f"{where}{name}.")
