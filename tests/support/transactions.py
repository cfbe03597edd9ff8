"""Finds whoever asks somebody over a network while a transaction is open.

Rows stay locked, and a connection stays taken, for as long as the other side takes. So the product asks
before or after. Every door to a network is watched in every test: sockets of Python, and those classes
that stand in a test where the product has another machine. PostgreSQL's own are C, and not seen here.
"""

import socket
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import connection

from runtime.driver import Driver
from tenants.snapshots.repositories.directory import DirectoryRepository
from tests.support.fake_driver import FakeDriver

_SOCKET = ("connect", "connect_ex", "send", "sendall", "sendto")
# What a store that speaks S3 is asked for; addresses are worked out here.
_REPOSITORY = ("remove", "read_back", "keep_file")

# What was found in the test that runs: the call, and whose code made it.
found: list[str] = []


def watch() -> None:
    """Watch every door, from now on."""
    for name in _SOCKET:
        _watch(socket.socket, name)
    for name, member in vars(Driver).items():
        if not name.startswith("_") and callable(member):
            _watch(FakeDriver, name)
    for name in _REPOSITORY:
        _watch(DirectoryRepository, name)


def watched(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, told of here when it is called inside a transaction of the product."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_open():
            callers = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_stack()
                if "/tests/" not in frame.filename and "site-packages" not in frame.filename
            ]
            found.append(f"{function.__qualname__} by {'; '.join(callers[-3:])}")
        return function(*args, **kwargs)

    return call


def is_open() -> bool:
    """Whether this thread has a transaction open beside the one that a test runs in."""
    return any(not getattr(one, "_from_testcase", False) for one in connection.atomic_blocks)


def _watch(owner: type, name: str) -> None:
    setattr(owner, name, watched(getattr(owner, name)))
