"""Bytes per container: the text they are read from, and that real traffic is counted the right way round."""

import pytest

from runtime import network
from runtime.config import HostConfig
from runtime.network import container
from runtime.network.counting import Counters, counters_in
from tests.runtime.network.conftest import Namespace, listening, sending
from tests.support import network_parts

RECORDED = b"""\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls
    lo: 1039312302 4361115    0    0    0     0          0         0 1039312302 4361115    0    0    0     0
vd96c-host:       0       0    0    0    0     0          0         0       42       1    0    0    0     0
vd96c-2710:  700 7 0 0 0 0 0 0 12884901888 9 0 0 0 0 0 0
vd96c-7fff:    1       0    0    0    0     0          0         0        0       0    0    0    0     0
vaaaa-2711:    5       0    0    0    0     0          0         0        5       0    0    0    0     0
"""


def test_only_this_host_s_containers_are_read_and_seen_from_inside() -> None:
    assert counters_in(RECORDED, "vd96c-") == {
        10000: Counters(rx_bytes=12_884_901_888, tx_bytes=700),
        32767: Counters(rx_bytes=0, tx_bytes=1),
    }


@pytest.mark.root
def test_what_a_container_is_sent_is_counted_as_received(
    config: HostConfig, namespace: Namespace
) -> None:
    network.ensure_host(config)
    for port in (10000, 10001):
        network_parts.attach(config, published_port=port, netns_pid=namespace())
    quiet = network.counters(config)[10001]
    pid = namespace()
    address = network_parts.attach(config, published_port=10000, netns_pid=pid)
    with listening(pid) as server:
        sending(str(address), 8000, server, 1_000_000)
    found = network.counters(config)
    assert found.keys() == {10000, 10001}
    assert 1_000_000 <= found[10000].rx_bytes < 1_500_000
    assert 0 < found[10000].tx_bytes < 200_000
    assert found[10001] == quiet
    container.detach(config, 10000)
    assert network.counters(config).keys() == {10001}
