"""More tenants on one host than a bridge has ports (1,023): all connected, all reachable."""

import socket
from contextlib import ExitStack

import pytest

from bench.parts.crowd import listener, namespaces
from runtime import network
from runtime.config import HostConfig
from runtime.network import Endpoint, table
from tests.runtime.network.conftest import PORT, ceilings

pytestmark = [pytest.mark.root, pytest.mark.slow]
TENANTS = 1100


@pytest.mark.long
def test_eleven_hundred_tenants_are_reached_by_their_ports(config: HostConfig) -> None:
    network.ensure_host(config)
    endpoints = [Endpoint(PORT + number, 8000, ceilings()) for number in range(TENANTS)]
    with ExitStack() as stack:
        made = stack.enter_context(namespaces(TENANTS))
        for endpoint, netns_fd in zip(endpoints, made, strict=True):
            network.connect(config, endpoint, netns_fd=netns_fd)
            stack.enter_context(listener(netns_fd, 8000))
        for endpoint in endpoints:
            address = (str(config.address), endpoint.published_port)
            with socket.create_connection(address, 10) as visit:
                visit.settimeout(10)
                assert visit.getpeername() == address
        assert len(network.counters(config)) == TENANTS
        table.delete(config)
        assert network.repair(config, endpoints) == (
            "the rules were gone",
            f"{TENANTS} published ports or classes were missing or wrong",
        )
        assert len(network.published(config)) == len(table.classes(config)) == TENANTS
        with socket.create_connection((str(config.address), PORT + TENANTS - 1), 10):
            pass
