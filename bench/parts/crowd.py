"""Many network namespaces at the price of a descriptor each: no process lives in them."""

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from runtime.system.syscalls import CLONE_NEWNET, setns, unshare


@contextmanager
def namespaces(count: int) -> Iterator[list[int]]:
    """Descriptors of that many new network namespaces."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 3 * count + 200)), hard))
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    made: list[int] = []
    try:
        for _ in range(count):
            unshare(CLONE_NEWNET)
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        setns(ours, CLONE_NEWNET)
        yield made
    finally:
        setns(ours, CLONE_NEWNET)
        for fd in (*made, ours):
            with suppress(OSError):
                os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def listener(netns_fd: int, port: int) -> socket.socket:
    """A server socket inside a namespace; the kernel there accepts connections for it."""
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        setns(netns_fd, CLONE_NEWNET)
        return socket.create_server(("0.0.0.0", port))  # noqa: S104
    finally:
        setns(ours, CLONE_NEWNET)
        os.close(ours)
