"""What is said of one setting, and how it is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from settings.kinds import Kind

T_co = TypeVar("T_co", covariant=True)


class SettingError(ValueError):
    """A setting that cannot be. name: which. remedies: what to do, a line each."""

    def __init__(self, message: str, *remedies: str, name: str) -> None:
        super().__init__(message)
        self.message, self.name, self.remedies = message, name, remedies

    def __str__(self) -> str:
        return "\n  ".join((self.message, *self.remedies))


class Reader(Enum):
    """Who reads a setting. The value is how documentation names it."""

    BIN = "bin"
    CONTROL = "control plane"
    KEEPER = "keeper"
    HOST = "host agent"
    EDGE = "edge agent"
    REDIS = "Redis"
    CLI = "stoa"


@dataclass(frozen=True, slots=True)
class Change:
    """When a setting of a Stoa that exists may get another value. because: why not at any time."""

    when: str
    because: str = ""


BIN, CLI = frozenset({Reader.BIN}), frozenset({Reader.CLI})
CONTROL, EDGE = frozenset({Reader.CONTROL}), frozenset({Reader.EDGE})
KEEPER, HOST = frozenset({Reader.KEEPER}), frozenset({Reader.HOST})
ON_HOSTS = KEEPER | HOST
REDIS = frozenset({Reader.REDIS})

AT_ANY_TIME = Change("at any time; `bin/up` brings it to its readers")
WHILE_STOPPED = "after `bin/down`"
WITHOUT_SHOPS = "while there are no shops"
NEVER = "never"


@dataclass(frozen=True, slots=True)
class WorkedOut:
    """A default that follows from something else. says: from what, in words."""

    says: str
    of: Callable[[Mapping[str, str]], str] = lambda _: ""


NOTHING = WorkedOut("nothing")


@dataclass(frozen=True, slots=True)
class Setting(Generic[T_co]):
    """One STOA_* variable.

    means: what it does, in one sentence. readers: who reads it. unit: of a number.
    """

    name: str
    kind: Kind[T_co]
    default: str | WorkedOut
    means: str
    readers: frozenset[Reader]
    unit: str = ""
    change: Change = AT_ANY_TIME

    def text(self, environ: Mapping[str, str]) -> str:
        """Return what was given, or the default. The empty text counts as not given, unless it is a value."""
        given = environ.get(self.name)
        if given or (given is not None and self.kind.takes_empty):
            return given
        return self.default if isinstance(self.default, str) else self.default.of(environ)

    def of(self, environ: Mapping[str, str]) -> T_co:
        """Return the value. SettingError names this setting, what was given, and what would be right."""
        text = self.text(environ)
        try:
            return self.kind.read(text)
        except ValueError as error:
            shown = f"is {text!r}" if self.kind.is_shown else "is not as it must be"
            shown = shown if text else "is not set"
            raise SettingError(
                f"{self.name} {shown}; it must be {self.kind.right}", name=self.name
            ) from error

    @property
    def fixed_default(self) -> str:
        """The default where it is a text; "" where it is worked out."""
        return self.default if isinstance(self.default, str) else ""
