"""What a container reaches over the network: its own port's visitors, and nothing of ours."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from runtime import network
from tests.runtime.escapes.conftest import Prisoner
from tests.runtime.hosts import fetch

pytestmark = pytest.mark.root

# All at once, then one wait: a dropped packet tells nothing, however long one waits.
_CONNECT = """
import errno, json, select, socket, sys, time
waiting, ended = {}, {}
for target in sys.argv[1:]:
    address, port = target.rsplit("|", 1)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        one = socket.socket(family)
        one.setblocking(False)
        code = one.connect_ex((address, int(port)))
    except OSError as error:
        code = error.errno
    if code == errno.EINPROGRESS:
        waiting[one] = target
    else:
        ended[target] = errno.errorcode.get(code, "connected")
end = time.monotonic() + 1
while waiting and (left := end - time.monotonic()) > 0:
    for one in select.select([], list(waiting), [], left)[1]:
        code = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        ended[waiting.pop(one)] = errno.errorcode.get(code, "connected")
ended.update({target: "silence" for target in waiting.values()})
print(json.dumps(ended))
"""


def connects(prisoner: Prisoner, *targets: str) -> dict[str, str]:
    """How a connection to each `address|port` ended, tried from inside."""
    found: dict[str, str] = json.loads(prisoner.python(_CONNECT, *targets))
    return found


@pytest.fixture
def served() -> Iterator[int]:
    """A service of this machine on every address, as the control plane's own would be if misplaced."""
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104
        yield server.getsockname()[1]


def own_addresses() -> list[str]:
    said = subprocess.run(
        ["ip", "-json", "address"], check=True, capture_output=True, text=True
    ).stdout
    return [
        info["local"]
        for link in json.loads(said)
        for info in link["addr_info"]
        if info["family"] == "inet"
    ]


def test_no_service_of_the_host_answers_on_any_of_its_addresses(
    prisoner: Prisoner, served: int
) -> None:
    addresses = [one for one in own_addresses() if not one.startswith("127.")]
    assert str(prisoner.host.config.address) in addresses
    for address in addresses:
        with socket.create_connection((address, served), 2):
            pass  # the control: from the host itself each answers
    ended = connects(prisoner, *(f"{address}|{served}" for address in addresses))
    assert set(ended.values()) <= {"silence", "EHOSTUNREACH", "ENETUNREACH"}, ended


def test_loopback_inside_is_the_container_s_own(prisoner: Prisoner, served: int) -> None:
    assert connects(prisoner, f"127.0.0.1|{served}") == {f"127.0.0.1|{served}": "ECONNREFUSED"}


def test_a_neighbour_is_reached_neither_by_his_address_nor_by_his_published_port(
    prisoner: Prisoner, neighbour: Prisoner
) -> None:
    host = str(prisoner.host.config.address)
    theirs = neighbour.host.driver().status(neighbour.spec.instance_id).address
    for address, port in ((host, neighbour.spec.published_port), (theirs, 8000)):
        assert fetch(address, port).startswith(b"HTTP/1.1 200")
    targets = (f"{theirs}|8000", f"{host}|{neighbour.spec.published_port}")
    assert connects(prisoner, *targets) == dict.fromkeys(targets, "silence")


def test_private_ranges_metadata_and_mail_are_silent(prisoner: Prisoner) -> None:
    targets = [
        f"{address}|80"
        for address in (
            "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "198.18.0.1",
            "240.0.0.1",
        )
    ] + ["203.0.113.2|25"]  # fmt: skip
    ended = connects(prisoner, *targets)
    assert set(ended.values()) <= {"silence", "ENETUNREACH", "EHOSTUNREACH", "EINVAL"}, ended


def test_ipv6_leads_nowhere(prisoner: Prisoner, served: int) -> None:
    with ExitStack() as stack:
        if socket.has_ipv6:
            stack.enter_context(socket.create_server(("::", 0), family=socket.AF_INET6))
        ended = connects(
            prisoner, f"fe80::1%eth0|{served}", f"2001:db8::1|{served}", f"::1|{served}"
        )
    assert set(ended.values()) <= {
        "ENETUNREACH", "EADDRNOTAVAIL", "EHOSTUNREACH", "EINVAL", "EAFNOSUPPORT", "ENOPROTOOPT",
    }, ended  # fmt: skip
    assert prisoner.run("/bin/cat", "/proc/net/if_inet6").output.strip() == ""


# What root of a network namespace may ask of its interfaces, each as (netlink family, type, body).
_CHANGES = """
import errno, json, socket, struct, sys
index = socket.if_nametoindex(sys.argv[1])
def attribute(kind, payload):
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)
link = lambda flags: struct.pack("=BxHiII", 0, 0, index, flags, 1)
queue = struct.pack("=BxxxiIII", 0, index, 0x53540000, 0xFFFFFFFF, 0)
address = bytes((100, 98, 7, 7))
batch = struct.pack(">BBH", 1, 0, 0)
changes = {
    "take the limit away": (0, 37, queue),
    "set another limit": (0, 36, queue + attribute(1, b"pfifo\\0")),
    "set the interface down": (0, 16, link(0)),
    "make an interface": (0, 16, struct.pack("=BxHiII", 0, 0, 0, 0, 0)
        + attribute(18, attribute(1, b"veth\\0"))),
    "take another address": (0, 20, struct.pack("=BBBBi", 2, 32, 0, 0, index) + attribute(2, address)),
    "route elsewhere": (0, 24, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 4, 253, 1, 0)
        + attribute(4, struct.pack("=i", index))),
    "take another neighbour": (0, 28, struct.pack("=BxxxiHBB", 2, index, 0x80, 0, 0)
        + attribute(1, address) + attribute(2, b"\\2\\0\\0\\0\\0\\1")),
    "have rules of its own": (12, 0xA00, batch + attribute(1, b"own\\0")),
}
def message(kind, flags, number, body):
    return struct.pack("=IHHII", 16 + len(body), kind, flags, number, 0) + body
ended = {}
for name, (family, kind, body) in changes.items():
    try:
        door = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family)
        door.settimeout(10)
        frame = message(kind, 0x605, 2, body)  # REQUEST, ACK, CREATE, EXCL
        if family == 12:
            generic = struct.pack(">BBH", 0, 0, 10)
            frame = message(0x10, 1, 1, generic) + frame + message(0x11, 1, 3, generic)
        door.send(frame)
        code = -struct.unpack_from("=i", door.recv(4096), 16)[0]
    except OSError as error:
        code = error.errno
    ended[name] = errno.errorcode.get(code, "done")
print(json.dumps(ended))
"""


def test_no_program_inside_can_change_its_interface_or_take_the_ceiling_away(
    prisoner: Prisoner,
) -> None:
    """Not even root of the container: no process in it holds CAP_NET_ADMIN in any namespace."""
    status = prisoner.host.driver().status(prisoner.spec.instance_id)
    most = replace(prisoner.spec.ceilings, egress_bytes_per_second=10_000_000)
    network.limit(
        prisoner.host.config,
        published_port=prisoner.spec.published_port,
        ceilings=most,
        internet=True,
        netns_pid=status.pid,
    )
    ended: dict[str, str] = json.loads(prisoner.python(_CHANGES, "eth0"))
    assert set(ended.values()) == {"EPERM"}, ended
    shown = ("nsenter", f"--net=/proc/{status.pid}/ns/net", "tc", "qdisc", "show", "dev", "eth0")
    assert "tbf" in subprocess.run(shown, check=True, capture_output=True, text=True).stdout
    # The control: root of a network namespace who has the capability gets further with each.
    control = ("unshare", "--map-root-user", "--net", sys.executable, "-c", _CHANGES, "lo")
    said = subprocess.run(control, check=True, capture_output=True, text=True).stdout
    assert "EPERM" not in json.loads(said).values(), said


def test_a_program_inside_speaks_under_its_own_address_only(prisoner: Prisoner) -> None:
    """It may bind what it likes; the host drops what does not come from its own address."""
    program = """
import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.setsockopt(socket.IPPROTO_IP, 15, 1)
one.bind((sys.argv[1], 0))
try:
    one.sendto(b"forged", (sys.argv[2], int(sys.argv[3])))
except OSError as error:
    print(error.errno)
"""
    address = prisoner.host.driver().status(prisoner.spec.instance_id).address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ears:
        ears.bind((str(prisoner.host.config.address), 0))
        ears.settimeout(0.5)
        port = ears.getsockname()[1]
        for source in ("100.127.9.9", "127.0.0.1", str(prisoner.host.config.address), address):
            prisoner.python(program, source, str(prisoner.host.config.address), str(port))
        with pytest.raises(TimeoutError):
            ears.recv(100)
