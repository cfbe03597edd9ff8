"""An edge says which hosts it can connect to, all at once and within a bound."""

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from runtime.edge.probe import MOST_PLACES, ProbeTarget, check_places, reachable
from runtime.errors import SpecInvalidError
from tests.runtime.edge.conftest import make_config


def test_open_closed_and_silent_places_are_told_apart_within_the_time() -> None:
    with ExitStack() as sockets:
        here, closed, silent, first = (sockets.enter_context(socket.socket()) for _ in range(4))
        for one in (here, closed, silent):
            one.bind(("127.0.0.1", 0))
        here.listen()
        silent.listen(0)  # one may wait to be accepted; of another it hears nothing
        first.connect(silent.getsockname())
        places = [
            ProbeTarget(name, "127.0.0.1", one.getsockname()[1])
            for name, one in (("here", here), ("closed", closed), ("silent", silent))
        ]
        began = time.monotonic()
        assert reachable(places, seconds=0.5) == ("here",)
        assert 0.4 < time.monotonic() - began < 10, "the kernel would try for two minutes"


def test_nobody_to_ask_is_nobody_reached() -> None:
    assert reachable([], seconds=1) == ()


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (ProbeTarget("a", "192.0.2.1", 9797), "hosts' addresses are within"),
        (ProbeTarget("a", "nowhere", 9797), "places:"),
        (ProbeTarget("a", "127.0.0.1", 0), "port is 0"),
    ],
)
def test_an_edge_connects_to_hosts_and_nowhere_else(
    place: ProbeTarget, told: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecInvalidError, match=told):
        check_places([place], make_config(tmp_path))


def test_a_batch_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(SpecInvalidError, match="at most 256"):
        check_places([ProbeTarget("a", "127.0.0.1", 1)] * (MOST_PLACES + 1), make_config(tmp_path))
