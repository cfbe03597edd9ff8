"""Tries what containers need, for real and for a moment, in child processes with namespaces of their own.

A kernel's configuration says what could be; only the call itself says what this machine allows.
"""

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime import rootfs
from runtime.config import HostConfig
from runtime.errors import RuntimeCoreError
from runtime.network import plan, rtnetlink, rules, shaping
from runtime.network.netlink import Netlink
from runtime.system import syscalls
from runtime.system.commands import run
from runtime.units import MIB

_FIRST_ID = 1_000_000
_SECONDS = 20.0


def user_namespace() -> str:
    """Make a user namespace with 65,536 ids and a network namespace inside it. "" or what failed."""

    def body() -> None:
        with _user_namespace(syscalls.CLONE_NEWNET):
            pass

    return _in_child(body)


def layered_rootfs(state_dir: Path) -> str:
    """Stack an overlay on an idmapped directory of state_dir's file system, and write to it.

    "" or what failed.
    """
    place = Path(tempfile.mkdtemp(prefix=".doctor-", dir=state_dir))

    def body() -> None:
        for name in ("lower", "upper", "work"):
            (place / name).mkdir()
        (place / "lower" / "file").write_text("from the image")
        os.chown(place / "upper", _FIRST_ID, _FIRST_ID)
        with _user_namespace(0) as userns_fd:
            stage = rootfs.open_stage()
            rootfs.assemble(
                stage,
                lower=(place / "lower",),
                upper=place / "upper",
                work=place / "work",
                userns_fd=userns_fd,
            )
            seen = (stage.rootfs / "file").stat().st_uid
            if seen != _FIRST_ID:
                raise OSError(f"a file of id 0 shows as id {seen}, not as {_FIRST_ID}")
            (stage.rootfs / "file").write_text("changed")
            if (place / "lower" / "file").read_text() != "from the image":
                raise OSError("a write to the overlay changed the layer below it")

    try:
        return _in_child(body)
    finally:
        shutil.rmtree(place)


def interfaces() -> str:
    """Make the interfaces a host needs, in a network namespace that ends with the probe."""

    def body() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        here = os.open("/proc/self/ns/net", os.O_RDONLY)
        with Netlink() as route:
            route.send([rtnetlink.new_holder("holder")])
            route.send([rtnetlink.new_veth("v-1", plan.HOST_MAC, "eth0", b"\2\0\0\0\0\1", here)])
            index = socket.if_nametoindex("eth0")
            route.send([shaping.put_limit(index, MIB), rtnetlink.wary_link_up(index)])

    return _in_child(body)


def packet_filter(config: HostConfig) -> str:
    """Load this host's whole rule set, in a network namespace that ends with the probe."""
    resolver = plan.resolver_in("nameserver 192.0.2.53")

    def body() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        script = rules.table_script(plan.table_of(config), rules.rules(config, resolver))
        outbound = rules.OutboundClass(1, 1)
        script += rules.class_script(plan.table_of(config), outbound)
        run("nft", "-f", "-", timeout=_SECONDS, stdin=script.encode())

    return _in_child(body)


@contextmanager
def _user_namespace(inner: int) -> Iterator[int]:
    """A descriptor of a user namespace with ids mapped; inner: CLONE_NEW* to unshare inside it."""
    ready, made = os.pipe()
    waiting, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(go)
            _hold_namespaces(made, waiting, inner)
        finally:
            os._exit(0)
    os.close(made)
    os.close(waiting)
    try:
        _expect(ready, "unshare(CLONE_NEWUSER) was refused")
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"0 {_FIRST_ID} 65536")
        os.write(go, b"i")
        _expect(ready, "a network namespace inside a user namespace was refused")
        fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
        yield fd
        os.close(fd)
    finally:
        os.close(go)
        os.close(ready)
        os.waitpid(pid, 0)


def _hold_namespaces(made: int, waiting: int, inner: int) -> None:
    """The child's part: a byte after each namespace made, and one awaited before going on."""
    syscalls.die_with_parent(signal.SIGKILL)
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    os.write(made, b"u")
    os.read(waiting, 1)
    if inner:
        syscalls.unshare(inner)
    os.write(made, b"i")
    os.read(waiting, 1)


def _expect(ready: int, message: str) -> None:
    if not os.read(ready, 1):
        raise OSError(message)


def _in_child(body: Callable[[], None]) -> str:
    """Run body in a child process and return what it raised, in words; "" when it went well."""
    report, answer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(report)
            signal.alarm(int(_SECONDS))
            body()
        except (OSError, RuntimeCoreError) as error:
            os.write(answer, str(error).encode()[:2000])
        finally:
            os._exit(0)
    os.close(answer)
    with os.fdopen(report, "rb") as said:
        found = said.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return found or ("" if status == 0 else f"the probe ended with {status}")
