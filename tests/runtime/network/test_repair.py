"""Somebody takes the rules away: ports, limits and classes come back, and only those that belong."""

import subprocess
from ipaddress import IPv4Address

import pytest

from runtime import network
from runtime.config import HostConfig
from runtime.network import Endpoint, table
from runtime.specs import Fence
from tests.runtime.hosts import Host, fetch, wait_until
from tests.runtime.network.conftest import (
    PORT,
    Namespace,
    ceilings,
    connected,
    inside,
    listening,
    reaches,
)
from tests.support import network_parts

pytestmark = pytest.mark.root


def nft(*argv: str) -> str:
    return subprocess.run(["nft", *argv], check=True, capture_output=True, text=True).stdout


def test_ports_and_classes_come_back_after_every_table_was_flushed(
    config: HostConfig, namespace: Namespace
) -> None:
    machine, first, second = namespace(), namespace(), namespace()
    few = ceilings(connections=7, per_second=3)
    wanted = [Endpoint(PORT, 8000, few), Endpoint(PORT + 1, 8000, ceilings(), internet=False)]
    with inside(machine):  # a machine of this test's own: everything of it may be flushed
        first_address = connected(config, first, at_most=few)
        second_address = connected(config, second, PORT + 1, internet=False)
        before = table.classes(config), table.published(config)
        nft("flush", "ruleset")
        assert table.handle(config) is None
        assert network.repair(config, wanted) == (
            "the rules were gone",
            "2 published ports or classes were missing or wrong",
        )
        assert (table.classes(config), table.published(config)) == before
        assert network.repair(config, wanted) == ()
    assert before[0] == {IPv4Address(first_address): "out_7_3", IPv4Address(second_address): None}
    with listening(first):
        assert reaches(machine, str(config.address), PORT)


def test_rules_that_were_flushed_from_the_table_come_back_and_elements_stay(
    config: HostConfig, namespace: Namespace
) -> None:
    pid = namespace()
    connected(config, pid)
    nft("flush", "table", "inet", f"{config.scope}_local")
    assert network.ensure_host(config)
    assert not network.ensure_host(config)
    assert "out_2048_200 {" in nft("list", "table", "inet", f"{config.scope}_local")
    assert network.repair(config, [Endpoint(PORT, 8000, ceilings())]) == ()
    with listening(pid):
        assert reaches(0, str(config.address), PORT)


EARLIER = """
table inet {table} {{
  map published {{
    type inet_service : ipv4_addr . inet_service
    elements = {{ 10000 : 100.98.1.0 . 8000 }}
  }}
  set private {{ type ipv4_addr; flags interval; elements = {{ 10.0.0.0/7 }}; }}
  set open_connections {{ type ipv4_addr; size 65535; flags dynamic; }}
  chain from_tenant {{
    add @open_connections {{ ip saddr ct count over 9 }} drop
    ip daddr @private drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    jump from_tenant
  }}
  chain version_01234567 {{
  }}
}}
"""


def test_the_table_of_an_earlier_version_is_taken_over_with_its_ports(
    config: HostConfig, namespace: Namespace
) -> None:
    pid = namespace()
    network.ensure_host(config)
    table.delete(config)
    address = network_parts.attach(config, published_port=PORT, netns_pid=pid)
    name = f"{config.scope}_local"
    earlier = EARLIER.format(table=name).replace("; }", ";\n}")
    subprocess.run(["nft", "-f", "-"], input=earlier, text=True, check=True)
    assert network.ensure_host(config)
    network.repair(config, [Endpoint(PORT, 8000, ceilings())])
    assert network.published(config) == {PORT: (address, 8000)}
    listed = nft("list", "table", "inet", name)
    assert "10.0.0.0/7" not in listed
    assert "open_connections" not in listed
    assert "version_01234567" not in listed
    with listening(pid):
        assert reaches(0, str(config.address), PORT)


def test_an_element_that_leads_elsewhere_is_set_right(
    config: HostConfig, namespace: Namespace
) -> None:
    address = IPv4Address(connected(config, namespace()))
    network_parts.publish(config, published_port=PORT, container_port=9)
    endpoint = Endpoint(PORT, 8000, ceilings())
    [said] = network.repair(config, [endpoint])
    assert said == "1 published ports or classes were missing or wrong"
    assert network.published(config) == {PORT: (address, 8000)}


def test_what_leads_to_nobody_is_taken_away_but_not_what_is_about_to_start(
    config: HostConfig, namespace: Namespace
) -> None:
    connected(config, namespace())
    for port in (PORT + 1, PORT + 2):
        network_parts.publish(config, published_port=port, container_port=8000)
    wanted = [Endpoint(PORT + one, 8000, ceilings()) for one in (0, 1)]
    network.repair(config, wanted)
    assert network.published(config).keys() == {PORT, PORT + 1}


def test_a_class_that_no_address_has_is_gone_after_a_repair(
    config: HostConfig, namespace: Namespace
) -> None:
    pid = namespace()
    connected(config, pid, at_most=ceilings(connections=5, per_second=5))
    other = ceilings(connections=6, per_second=6)
    network.limit(config, published_port=PORT, ceilings=other, internet=True, netns_pid=pid)
    assert {"out_5_5", "out_6_6"} < set(table.chains(config))
    network.repair(config, [Endpoint(PORT, 8000, other)])
    assert "out_5_5" not in table.chains(config)
    assert "out_6_6" in table.chains(config)
    assert "out_5_5" not in nft("list", "table", "inet", f"{config.scope}_local")


def test_the_keeper_brings_a_removed_table_back_by_itself(host: Host) -> None:
    host.start_keeper()
    spec = host.spec(internet=False)
    status = host.driver().ensure_running(spec, fence=Fence(1, 1))
    before = table.handle(host.config)
    nft("delete", "table", "inet", f"{host.config.scope}_{host.config.name}")
    wait_until(
        lambda: fetch(str(host.config.address), spec.published_port).startswith(b"HTTP/1.1 200"),
        seconds=20,
        what="the published port answers again",
        pause=0.1,
    )
    assert table.handle(host.config) not in {None, before}
    assert table.classes(host.config) == {IPv4Address(status.address): None}
    wait_until(
        lambda: b"the network was repaired" in (host.state_dir / "keeper.log").read_bytes(),
        what="the keeper says so",
    )
