"""A client of the keeper gets an error it can act on, whatever becomes of the keeper."""

import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.errors import HostError, HostUnreachableError, StaleFenceError
from runtime.keeper.client import KeeperClient


def serve(path: Path, answer: Callable[[socket.socket], None]) -> None:
    """Take one connection in a thread, read its request, and let answer do the rest."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(1)

    def take() -> None:
        peer, _ = listening.accept()
        with listening, peer:
            peer.recv(4096)
            answer(peer)

    threading.Thread(target=take, daemon=True).start()


def reset(peer: socket.socket) -> None:
    """Close so that the other end is told in the rudest way."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_nobody_listening_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(HostUnreachableError, match="no keeper answers on"):
        KeeperClient(tmp_path / "keeper.sock").ask("ping")


@pytest.mark.parametrize("answer", [lambda _peer: None, reset, lambda peer: peer.send(b'{"ok"')])
def test_a_keeper_that_ends_in_a_call_is_an_error_that_may_be_repeated(
    tmp_path: Path, answer: Callable[[socket.socket], None]
) -> None:
    serve(tmp_path / "keeper.sock", answer)
    with pytest.raises(HostError, match="ended in the middle of a call") as caught:
        KeeperClient(tmp_path / "keeper.sock").ask("ping")
    assert caught.value.may_repeat


def test_an_error_comes_back_as_the_class_it_was(tmp_path: Path) -> None:
    serve(
        tmp_path / "keeper.sock",
        lambda peer: peer.sendall(b'{"ok":false,"code":"stale_fence","message":"old"}\n'),
    )
    with pytest.raises(StaleFenceError, match="old"):
        KeeperClient(tmp_path / "keeper.sock").ask("start")


def test_news_that_does_not_come_is_none(tmp_path: Path) -> None:
    done = threading.Event()
    serve(tmp_path / "keeper.sock", lambda _peer: (done.wait(5), None)[1])
    with KeeperClient(tmp_path / "keeper.sock").call("start") as call:
        assert call.next(0.01) is None
    done.set()
