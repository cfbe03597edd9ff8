"""What a container reaches over the network: its own port's visitors, and nothing of ours."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

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
