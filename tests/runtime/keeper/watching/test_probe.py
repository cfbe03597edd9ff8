"""The probe port: open while the keeper lives, whatever it is doing, and tried again when it was taken."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from runtime.config import HostConfig, host_config
from runtime.errors import SpecInvalidError
from runtime.keeper.loop import Loop
from runtime.keeper.watching import probe
from runtime.keeper.watching.probe import Probe
from tests.runtime.edge.conftest import wait_for


@pytest.fixture
def config(tmp_path: Path) -> HostConfig:
    with socket.socket() as free:
        free.bind(("127.0.9.1", 0))
        port = free.getsockname()[1]
    return HostConfig(
        "local", "test", tmp_path, IPv4Network("127.0.9.0/24"), range(1, 2), probe_port=port
    )


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.stop()


def answers(config: HostConfig) -> bool:
    with (
        suppress(OSError),
        socket.create_connection((str(config.address), config.probe_port), timeout=1),
    ):
        return True
    return False


def test_it_answers_before_anybody_reads_and_is_closed_with_the_keeper(
    config: HostConfig, loop: Loop
) -> None:
    assert not answers(config)
    listening = Probe(loop, config)
    listening.open()
    assert answers(config)  # nobody has run the loop yet: a busy keeper is alive
    listening.close()
    assert not answers(config)


def test_a_port_that_was_taken_is_opened_once_it_is_free(
    config: HostConfig, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "AGAIN_SECONDS", 0.05)
    with socket.socket() as other:
        other.bind((str(config.address), config.probe_port))
        listening = Probe(loop, config)
        listening.open()
        thread = threading.Thread(target=loop.run, daemon=True)
        thread.start()
        assert not answers(config)
    wait_for(lambda: answers(config))
    loop.after(0, loop.stop)
    thread.join(5)
    listening.close()


@pytest.mark.parametrize("text", ["no", "0", "70000", "10001"])
def test_a_probe_port_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(SpecInvalidError, match="STOA_PROBE_PORT"):
        host_config({"STOA_PROBE_PORT": text})
