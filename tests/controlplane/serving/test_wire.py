"""A wire waits as long as its other side deserves, and keeps what it does not read."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from controlplane.serving import wire as wires
from controlplane.serving.wire import KeptAnswers, Wire


@pytest.fixture
def pair() -> Iterator[tuple[Wire, socket.socket]]:
    ours, theirs = socket.socketpair()
    for one in (ours, theirs):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire = Wire(ours, kept=KeptAnswers(most=1_000_000))
    yield wire, theirs
    wire.close()
    theirs.close()


def test_bytes_in_drops_buy_no_time(pair: tuple[Wire, socket.socket]) -> None:
    wire, theirs = pair
    wire.begin(patience=0.6)
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.05):
            try:
                theirs.send(b"x")
            except OSError:
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    began = time.monotonic()
    try:
        with pytest.raises(ConnectionResetError):
            list(iter(lambda: wire.recv(1000), b""))
    finally:
        stop.set()
        dripping.join()
    assert wire.is_given_up
    assert time.monotonic() - began < 10


def test_what_moves_fast_enough_is_waited_for_without_an_end(
    pair: tuple[Wire, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "LEAST_RATE", 1000)
    wire, theirs = pair
    wire.begin(patience=2)
    for _ in range(8):  # longer together than the purse it began with
        timer = threading.Timer(0.4, theirs.sendall, [b"x" * 1000])
        timer.start()
        assert wire.recv(1000)
        timer.join()
    assert wire.patience > 0


def test_an_answer_that_nobody_reads_is_kept_and_frees_the_thread(
    pair: tuple[Wire, socket.socket],
) -> None:
    wire, theirs = pair
    content = bytes(range(256)) * 2000
    began = time.monotonic()
    for at in range(0, len(content), 8000):
        wire.sendall(content[at : at + 8000])
    assert time.monotonic() - began < 5
    assert wire.keeps > 300_000
    came = bytearray()
    while len(came) < len(content):
        wire.flush()
        came += theirs.recv(65536)
    assert bytes(came) == content
    assert wire.keeps == 0


def test_more_than_one_wire_may_keep_waits_and_ends_with_patience(
    pair: tuple[Wire, socket.socket],
) -> None:
    wire, _theirs = pair
    wire.begin(patience=0.3)
    with pytest.raises(ConnectionResetError):
        wire.sendall(b"x" * (wires.MOST_KEPT_EACH + 100_000))


def test_when_all_keep_too_much_the_oldest_is_given_up_for_the_newest() -> None:
    kept = KeptAnswers(most=1_000_000)
    pairs = [socket.socketpair() for _ in range(4)]
    kept_wires = [Wire(ours, kept=kept) for ours, _theirs in pairs]
    for wire in kept_wires:
        wire.sendall(b"x" * 900_000)
    assert [wire.is_given_up for wire in kept_wires] == [True, True, True, False]
    for wire, (_, theirs) in zip(kept_wires, pairs, strict=True):
        wire.close()
        theirs.close()
