"""A shop whose pages hang while its health path answers is named, and left alone."""

import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from runtime.bundle import Desired, InstanceDirectory, InstanceRecord, Program
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.keeper.logs import LogReader
from runtime.keeper.loop import Loop
from runtime.keeper.processes import start_ticks
from runtime.keeper.supervised import Phase, Supervised
from runtime.keeper.watching.health_watch import HealthHooks, HealthWatch, Pace
from runtime.specs import InstanceSpec
from runtime.units import MIB, Limits

# Answers are quick or never come; the limit is for a busy machine.
PACE = Pace(every=0.3, again=0.1, answer=1.5, misses=3, page_every=4)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
# What each shop's front page says, then hangs up or holds the line.
PAGES: dict[str, tuple[bytes, bool]] = {
    "silent": (b"", True),
    "half": (b"HTTP/1.1 200 OK\r\nContent-Le", True),
    "closes": (b"", False),
    "well": (OK, False),
    "elsewhere": (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", False),
    "closed": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", False),
    "broken": (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", False),
}
SICK = ("silent", "half", "closes")


class Shops:
    """One program that answers for all of them, by the name they are asked by."""

    def __init__(self) -> None:
        self.pages = dict(PAGES)
        self.asked: Counter[str] = Counter()
        self._socket = socket.create_server(("0.0.0.0", 0), backlog=64)  # noqa: S104 - 127/8 only
        self.port = self._socket.getsockname()[1]
        self._held: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            path, _, rest = peer.recv(4096).decode().removeprefix("GET ").partition(" ")
            name = rest.partition("Host: ")[2].partition(".")[0]
            answer, holds = (OK, False) if path == "/healthz" else self.pages[name]
            if path == "/":
                self.asked[name] += 1
            if answer:
                peer.sendall(answer)
            if holds:
                self._held.append(peer)
            else:
                peer.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        for one in (self._socket, *self._held):
            one.close()


@pytest.fixture
def shops() -> Iterator[Shops]:
    made = Shops()
    yield made
    made.close()


def _kept(config: HostConfig, number: int, name: str, port: int) -> Supervised:
    instance_id = f"ins_page{name}"
    spec = InstanceSpec(
        instance_id=instance_id,
        tenant=name,
        image_digest="sha256:" + "0" * 64,
        published_port=config.ports[number],
        ceilings=Limits(1000, 64 * MIB, 64, 100 * MIB),
        container_port=port,
        env=(("STOA_PUBLIC_URL", f"http://{name}.localhost:8080"),),
    )
    directory = InstanceDirectory.of(config.state_dir, instance_id)
    directory.root.mkdir(parents=True)
    program = Program(("x",), (), "/", 0, 0, "SIGTERM")
    directory.write(InstanceRecord(spec, "/nowhere", program, Desired.RUNNING))
    kept = Supervised(
        instance_id, LogReader(directory, fds={"out": -1}), Phase.RUNNING, wanted=True
    )
    kept.proven = kept.healthy = True
    kept.pid, kept.ticks = os.getpid(), start_ticks(os.getpid())
    return kept


def _until(loop: Loop, true: Callable[[], object], seconds: float = 60.0) -> bool:
    seen: list[bool] = []

    def look() -> None:
        if true():
            seen.append(True)
            loop.stop()
        else:
            loop.after(0.05, look)

    late = loop.after(seconds, loop.stop)
    look()
    if not seen:
        loop.run()
    late.cancelled = True
    return bool(seen)


def test_a_front_page_that_gives_no_answer_is_told_and_any_answer_will_do(
    shops: Shops, tmp_path: Path
) -> None:
    config = HostConfig(
        name="pages",
        scope="pages",
        state_dir=tmp_path,
        subnet=IPv4Network("127.65.0.0/16"),
        ports=range(20000, 20100),
    )
    kept = {name: _kept(config, number, name, shops.port) for number, name in enumerate(PAGES)}
    loop = Loop()
    hooks = HealthHooks(
        lambda: list(kept.values()),
        lambda one, **_: pytest.fail(f"{one.instance_id} was judged"),
        lambda one: pytest.fail(f"{one.instance_id} was looked for"),
        lambda _one: None,  # this process is in no instance's cgroup
        lambda _instance, _since: False,
    )
    HealthWatch(loop, config, Cgroups.detect(config), hooks, PACE).look()
    assert _until(loop, lambda: all("not_answering" in kept[one].troubles for one in SICK))
    told = {one: kept[one].troubles["not_answering"] for one in SICK}
    assert told["silent"].message == (
        "it gives no answer to GET / within 1.5 s, though its health path answers"
    )
    assert {one.wants_start for one in told.values()} == {False}
    assert all(one.healthy for one in kept.values())
    assert all(shops.asked[one] >= PACE.misses for one in SICK)
    before = shops.asked.copy()
    well = [one for one in PAGES if one not in SICK]
    assert _until(loop, lambda: all(shops.asked[one] >= before[one] + 2 for one in well))
    assert not any(kept[one].troubles for one in well)
    shops.pages |= dict.fromkeys(SICK, (OK, False))
    assert _until(loop, lambda: not any(one.troubles for one in kept.values()))
