"""Names, addresses and rules, worked out without touching the host."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from runtime.config import HostConfig
from runtime.errors import SpecInvalidError
from runtime.network import plan, rules


def config(subnet: str = "100.96.0.0/16", ports: range = range(10000, 32768)) -> HostConfig:
    return HostConfig("local", "stoa", Path("/nowhere"), IPv4Network(subnet), ports)


def test_a_port_has_one_address_and_neighbouring_ports_have_neighbouring_ones() -> None:
    assert plan.address_for(config(), 10000) == IPv4Address("100.96.1.0")
    assert plan.address_for(config(), 10256) == IPv4Address("100.96.2.0")
    assert plan.address_for(config(), 32767) == IPv4Address("100.96.89.239")


@pytest.mark.parametrize("port", [0, 80, 9999, 32768])
def test_a_port_of_another_host_is_refused_with_this_host_s_ports(port: int) -> None:
    with pytest.raises(SpecInvalidError, match=f"{port}; this host publishes 10000 to 32767"):
        plan.address_for(config(), port)


def test_a_subnet_that_is_too_small_is_refused_with_the_remedy() -> None:
    small = config("100.96.0.0/23")
    assert plan.address_for(small, 10254) == IPv4Address("100.96.1.254")
    with pytest.raises(SpecInvalidError, match="use a larger STOA_SUBNET"):
        plan.address_for(small, 10255)


def test_interface_names_fit_the_kernel_and_differ_between_scopes() -> None:
    other = HostConfig("local", "other", Path("/x"), IPv4Network("100.97.0.0/16"), range(1, 9))
    assert plan.veth_of(config(), 32767) == f"{config().interface_prefix}7fff"
    assert len(plan.veth_of(config(), 32767)) <= 15
    assert plan.holder_of(config()) != plan.holder_of(other)
    assert plan.table_of(config()) == "stoa_local"


def test_container_macs_are_local_unicast_and_all_different() -> None:
    first, second = plan.mac_of(IPv4Address("100.96.1.0")), plan.mac_of(IPv4Address("100.96.1.1"))
    assert first != second
    assert len(first) == 6
    assert first[0] & 3 == 2


def test_networks_inside_one_another_are_given_once() -> None:
    text = rules.rules(config(), None)
    assert "100.64.0.0/10" in text
    assert "100.96.0.0/16," not in text
    assert "198.51.100.0/24" in rules.rules(config("198.51.100.0/24"), None)


def test_the_version_changes_with_the_rules() -> None:
    with_dns = rules.rules(config(), IPv4Address("192.0.2.53"))
    assert "dnat ip to 192.0.2.53" in with_dns
    assert rules.version_of(with_dns) != rules.version_of(rules.rules(config(), None))
    assert rules.version_of(with_dns) == rules.version_of(with_dns)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nameserver 192.0.2.53\n", "192.0.2.53"),
        ("# no\nsearch example.com\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n", "192.0.2.1"),
        ("nameserver ::1\nnameserver\n", None),
        ("", None),
    ],
)
def test_the_resolver_is_one_that_containers_can_reach(text: str, found: str | None) -> None:
    assert plan.resolver_in(text) == (IPv4Address(found) if found else None)
