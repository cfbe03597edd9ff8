"""What a method of a host or an edge is: the same declaration for both sides of the broker.

Control makes calls from it (workers/rpc/drivers.py); an agent reads them by it (host/handlers.py,
edge/handlers.py). A method is its name, its arguments, its result, how long it may take, and whether it needs
a fence. The methods themselves are in host/methods.py and edge/methods.py.

A control plane and its agents may be one version apart, so a new argument is marked LATER (runtime/wire.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar


@dataclass(frozen=True, slots=True)
class Args:
    """Arguments of a method; this class alone: none."""

    def check(self) -> None:
        """Refuse what cannot be carried out (SpecInvalidError), before anything is touched."""

    def within(self, run_limit: float) -> Self:
        """Return the same with waits cut to the run limit: nothing else ends a thread that waits."""
        return self


A = TypeVar("A", bound=Args)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Method(Generic[A, R]):
    """One thing an agent can be asked.

    result: the type of its value. limit: how many seconds it may take. is_fenced: it changes something
    that another worker may change too, so its call carries a fence.
    """

    name: str
    args: type[A]
    result: type[R]
    limit: Callable[[A], float]
    is_fenced: bool = False


def always(seconds: float) -> Callable[[Args], float]:
    """Return the limit of a method that takes the same time whatever its arguments are."""
    return lambda _: seconds


def table(*methods: Method[Any, Any]) -> Mapping[str, Method[Any, Any]]:
    """Return the methods by their names."""
    return {method.name: method for method in methods}
