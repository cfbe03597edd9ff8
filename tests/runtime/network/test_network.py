"""The real network of a host: what connects, what must not, and that nothing is left."""

import errno
import socket
import subprocess
import threading
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from runtime import network
from runtime.config import HostConfig
from runtime.errors import HostError
from runtime.network import container, plan
from tests.runtime.network.conftest import (
    INTERNET,
    PORT,
    PRIVATE,
    Namespace,
    connected,
    inside,
    ip,
    is_shut_out,
    listening,
    reaches,
)
from tests.support import network_parts

pytestmark = pytest.mark.root


def test_the_published_port_leads_into_the_container_and_the_answer_comes_back(
    config: HostConfig, namespace: Namespace
) -> None:
    pid = namespace()
    connected(config, pid)
    with listening(pid) as server:
        assert reaches(0, str(config.address), PORT)
        connection, (source, _port) = server.accept()
        connection.close()
    assert source == str(config.address)


def test_the_container_s_own_address_answers_its_host(
    config: HostConfig, namespace: Namespace
) -> None:
    pid = namespace()
    address = connected(config, pid)
    with listening(pid):
        assert reaches(0, address, 8000)


def test_a_link_can_send_when_the_connecting_has_ended(
    config: HostConfig, namespace: Namespace
) -> None:
    """Else the first packet is lost, and TCP sends it again after a second."""
    for number in range(20):
        connected(config, namespace(), PORT + number)
        state = Path(f"/sys/class/net/{plan.veth_of(config, PORT + number)}/operstate").read_text()
        assert state == "up\n"


def test_a_container_has_one_address_no_ipv6_and_nothing_learned_by_arp(
    config: HostConfig, namespace: Namespace
) -> None:
    pid = namespace()
    address = connected(config, pid)
    assert ip("-o", "-6", "address", pid=pid) == ""
    assert ip("-o", "-4", "address", "show", "eth0", pid=pid).split()[3] == f"{address}/32"
    assert "PERMANENT" in ip("neighbour", "show", pid=pid)
    host_end = f"{config.interface_prefix}{PORT:04x}"
    assert ip("-o", "-6", "address", "show", "dev", host_end) == ""
    assert "PERMANENT" in ip("neighbour", "show", "dev", host_end)


def test_tenants_cannot_reach_each_other_by_any_address(
    config: HostConfig, namespace: Namespace
) -> None:
    first, second = namespace(), namespace()
    connected(config, first)
    address = connected(config, second, PORT + 1)
    with listening(second):
        assert reaches(0, str(config.address), PORT + 1)
        assert is_shut_out(first, address, 8000)
        assert is_shut_out(first, str(config.address), PORT + 1)


def test_tenants_cannot_reach_services_of_the_host(
    config: HostConfig, namespace: Namespace
) -> None:
    pid = namespace()
    connected(config, pid)
    with listening(0, 8999):
        assert reaches(0, str(config.address), 8999)
        assert is_shut_out(pid, str(config.address), 8999)
        for line in ip("-o", "-4", "address", "show", "scope", "global").splitlines():
            assert is_shut_out(pid, line.split()[3].partition("/")[0], 8999)


def test_a_source_address_that_is_not_the_tenant_s_own_goes_nowhere(
    config: HostConfig, namespace: Namespace, internet: int
) -> None:
    pid = namespace()
    address = connected(config, pid)
    with listening(internet, 80):
        assert reaches(pid, INTERNET, 80, source=address)
        assert is_shut_out(pid, INTERNET, 80, source="100.98.9.9")


def test_tenants_reach_the_internet_under_the_host_s_address(
    config: HostConfig, namespace: Namespace, internet: int
) -> None:
    pid = namespace()
    connected(config, pid)
    with listening(internet, 80) as server:
        assert reaches(pid, INTERNET, 80)
        connection, (source, _port) = server.accept()
        connection.close()
    assert source == "203.0.113.1"


def test_tenants_send_no_mail_and_reach_no_private_network(
    config: HostConfig, namespace: Namespace, internet: int
) -> None:
    pid = namespace()
    connected(config, pid)
    with listening(internet, 25), listening(internet, 80):
        assert reaches(0, INTERNET, 25)
        assert reaches(0, PRIVATE, 80)
        assert is_shut_out(pid, INTERNET, 25)
        assert is_shut_out(pid, PRIVATE, 80)


def test_an_edge_elsewhere_reaches_published_ports_and_nothing_behind_them(
    config: HostConfig, namespace: Namespace, internet: int
) -> None:
    pid = namespace()
    address = connected(config, pid)
    ip("route", "add", f"{address}/32", "via", "203.0.113.1", pid=internet)
    with listening(pid) as server:
        assert reaches(internet, str(config.address), PORT)
        connection, (source, _port) = server.accept()
        connection.close()
        assert is_shut_out(internet, address, 8000)
        # Another machine of the same network that is no edge.
        assert is_shut_out(internet, str(config.address), PORT, source=PRIVATE)
        ip("address", "add", "203.0.113.9/24", "dev", "eth0", pid=internet)
        assert is_shut_out(internet, str(config.address), PORT, source="203.0.113.9")
    assert source == INTERNET


def test_publishing_again_changes_where_the_port_leads(
    config: HostConfig, namespace: Namespace
) -> None:
    address = IPv4Address(connected(config, namespace()))
    network_parts.publish(config, published_port=PORT, container_port=8000)
    network_parts.publish(config, published_port=PORT, container_port=9000)
    assert network.published(config) == {PORT: (address, 9000)}


def test_an_unpublished_port_leads_nowhere(config: HostConfig, namespace: Namespace) -> None:
    pid = namespace()
    connected(config, pid)
    with listening(pid):
        network_parts.unpublish(config, PORT)
        network_parts.unpublish(config, PORT)
        assert is_shut_out(0, str(config.address), PORT)


@pytest.mark.parametrize("is_edge_elsewhere", [False, True])
def test_no_program_of_the_host_answers_in_the_place_of_a_shop_that_is_down(
    config: HostConfig, namespace: Namespace, is_edge_elsewhere: bool
) -> None:
    pid, machine, edge = namespace(), namespace(), namespace()
    _joined(machine, edge, to=config)
    visitor = edge if is_edge_elsewhere else machine
    here, last = str(config.address), config.ports[-1]
    with inside(machine):
        connected(config, pid)
    with (
        listening(machine, PORT) as same,
        listening(machine, last),
        listening(machine, config.probe_port),
        listening(pid) as shop,
    ):
        assert reaches(visitor, here, PORT)
        shop.accept()[0].close()
        with inside(machine):
            network_parts.unpublish(config, PORT)
        for port in (PORT, last):
            assert _is_refused(visitor, here, port)
        same.settimeout(0.1)
        with pytest.raises(TimeoutError):
            same.accept()
        assert reaches(visitor, here, config.probe_port), "what is no shop's port is not touched"
        assert reaches(machine, "127.0.0.1", PORT)
        assert reaches(visitor, "203.0.113.1", PORT)
        with inside(machine):
            network_parts.publish(config, published_port=PORT, container_port=8000)
        assert reaches(visitor, here, PORT)
        shop.accept()[0].close()


def _joined(machine: int, edge: int, *, to: HostConfig) -> None:
    """A wire between a host and an edge on another machine."""
    ip("link", "set", "lo", "up", pid=machine)
    ip(
        "link",
        "add",
        "up0",
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        str(edge),
        pid=machine,
    )
    for address, name, one in (("203.0.113.1", "up0", machine), (INTERNET, "eth0", edge)):
        ip("address", "add", f"{address}/24", "dev", name, pid=one)
        ip("link", "set", name, "up", pid=one)
    ip("route", "add", f"{to.address}/32", "via", "203.0.113.1", pid=edge)


def _is_refused(pid: int, address: str, port: int) -> bool:
    """Whether it is said at once that nobody is there: an edge must not have to wait for it."""
    with inside(pid):
        client = socket.socket()
    with client:
        client.settimeout(5)
        return client.connect_ex((address, port)) == errno.ECONNREFUSED


def test_attaching_again_replaces_what_a_broken_start_left(
    config: HostConfig, namespace: Namespace
) -> None:
    connected(config, namespace())
    pid = namespace()
    connected(config, pid)
    with listening(pid):
        assert reaches(0, str(config.address), PORT)


def test_detach_removes_the_pair_and_is_calm_the_second_time(
    config: HostConfig, namespace: Namespace
) -> None:
    pid = namespace()
    connected(config, pid)
    container.detach(config, PORT)
    container.detach(config, PORT)
    assert network_parts.listing(config).interfaces == (f"{config.interface_prefix}host",)
    assert "eth0" not in ip("-o", "link", pid=pid)


def test_ensure_host_repairs_a_missing_table_and_a_missing_address(config: HostConfig) -> None:
    network.ensure_host(config)
    subprocess.run(["nft", "delete", "table", "inet", f"{config.scope}_local"], check=True)
    ip("link", "delete", f"{config.interface_prefix}host")
    network.ensure_host(config)
    found = network_parts.listing(config)
    assert found.table
    assert str(config.address) in ip("-o", "-4", "address", "show", found.interfaces[0])
    # A network that comes late: nothing but the address had gone.
    ip("address", "flush", "dev", found.interfaces[0])
    network.ensure_host(config)
    assert str(config.address) in ip("-o", "-4", "address", "show", found.interfaces[0])


def test_other_rules_replace_the_old_ones_and_keep_published_ports(
    config: HostConfig, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = namespace()
    connected(config, pid)
    monkeypatch.setattr("runtime.network.host.resolver", lambda _config: IPv4Address("192.0.2.53"))
    network.ensure_host(config)
    rules = subprocess.run(
        ["nft", "list", "table", "inet", f"{config.scope}_local"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert rules.count("192.0.2.53") == 2
    assert rules.count("chain version_") == 1
    assert rules.count("tcp dport 25 drop") == 1
    with listening(pid):
        assert reaches(0, str(config.address), PORT)


def test_two_scopes_on_one_machine_do_not_touch_each_other(
    config: HostConfig, namespace: Namespace, tmp_path: Path
) -> None:
    other = HostConfig(
        "local", f"{config.scope}b", tmp_path, IPv4Network("100.99.0.0/16"), config.ports
    )
    first, second = namespace(), namespace()
    connected(config, first)
    try:
        address = connected(other, second)
        with listening(first), listening(second):
            assert reaches(0, str(config.address), PORT)
            assert reaches(0, str(other.address), PORT)
            assert is_shut_out(first, address, 8000)
            assert is_shut_out(first, str(other.address), PORT)
            network.remove_host(other)
            assert reaches(0, str(config.address), PORT)
    finally:
        network.remove_host(other)
    assert network_parts.listing(other).empty


def test_a_process_without_a_namespace_is_an_error_that_names_it(config: HostConfig) -> None:
    network.ensure_host(config)
    with pytest.raises(HostError, match="process 4000000 has no network namespace"):
        network_parts.attach(config, published_port=PORT, netns_pid=4_000_000)
    assert len(network_parts.listing(config).interfaces) == 1


def test_the_calling_thread_comes_back_to_its_own_namespace(
    config: HostConfig, namespace: Namespace
) -> None:
    pid = namespace()
    before = ip("-o", "link", "show", "lo")
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(connected(config, pid)))
    thread.start()
    thread.join()
    assert seen == ["100.98.1.0"]
    assert ip("-o", "link", "show", "lo") == before
    with inside(pid):
        assert f"{config.interface_prefix}host" not in ip("-o", "link")


def test_what_is_sent_to_an_address_without_a_container_never_leaves_the_host(
    config: HostConfig, namespace: Namespace
) -> None:
    pid = namespace()
    network.ensure_host(config)
    address = connected(config, pid)
    nobody = str(IPv4Address(address) + 1)
    assert f"unreachable {config.subnet}" in ip("-4", "route")
    # The container has a route of its own; the next address has none, whatever the default route is.
    assert f"{address} dev" in ip("-4", "route", "get", address)
    with pytest.raises(OSError, match=r"No route to host|Network is unreachable"):
        socket.create_connection((nobody, 8000), 5)
    ip("route", "del", "unreachable", str(config.subnet), "metric", "4096")
    network.ensure_host(config)
    assert f"unreachable {config.subnet}" in ip("-4", "route")
    network.remove_host(config)
    assert f"unreachable {config.subnet}" not in ip("-4", "route")
