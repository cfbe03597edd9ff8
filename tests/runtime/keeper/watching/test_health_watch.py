"""A shop that stops answering is noticed, told apart from a busy one, and what was taken from it put back.

The watch is the keeper's own, over containers of a real host, at a quicker pace.
"""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from runtime.bundle import InstanceDirectory
from runtime.crun import health
from runtime.keeper.logs import LogReader
from runtime.keeper.loop import Loop
from runtime.keeper.processes import start_ticks
from runtime.keeper.supervised import Phase, Supervised
from runtime.keeper.watching import question
from runtime.keeper.watching.health_watch import HealthHooks, HealthWatch, Pace
from runtime.keeper.watching.mending import Mender
from runtime.keeper.watching.question import Answer, Question, request_of
from runtime.network import plan
from runtime.specs import Fence, InstanceSpec
from tests.runtime.hosts import Host, wait_until

pytestmark = pytest.mark.root

PACE = Pace(every=0.5, again=0.2, answer=0.3, misses=3, hung=1.0, busy=60.0, busy_share=0.3)
SECONDS = 60.0


class Watched:
    """A watch of the test's own beside the keeper's, which has only begun to count its half minute."""

    def __init__(self, host: Host, pace: Pace = PACE) -> None:
        self.host = host
        self.loop = Loop()
        self.frozen = False
        self.kept: dict[str, Supervised] = {}
        mender = Mender(self.loop, host.config, host.cgroups)
        hooks = HealthHooks(
            lambda: list(self.kept.values()),
            self._note,
            mender.replug,
            mender.take_back,
            lambda _instance, _since: self.frozen,
        )
        HealthWatch(self.loop, host.config, host.cgroups, hooks, pace).look()

    def _note(self, kept: Supervised, *, is_well: bool) -> None:
        kept.healthy = is_well

    def start(self, spec: InstanceSpec) -> Supervised:
        status = self.host.driver().ensure_running(spec, fence=Fence(1, 1))
        directory = InstanceDirectory.of(self.host.config.state_dir, spec.instance_id)
        kept = Supervised(
            spec.instance_id, LogReader(directory), Phase.RUNNING, wanted=True, proven=True
        )
        kept.healthy, kept.pid, kept.ticks = True, status.pid, start_ticks(status.pid)
        self.kept[spec.instance_id] = kept
        return kept

    def until(self, true: Callable[[], object], seconds: float = SECONDS) -> bool:
        """Let the loop run until it is so; whether it came to be."""
        seen: list[bool] = []
        is_over = False

        def look() -> None:
            if is_over:
                return
            if true():
                seen.append(True)
                self.loop.stop()
            else:
                self.loop.after(0.02, look)

        late = self.loop.after(seconds, self.loop.stop)
        look()
        if not seen:
            self.loop.run()
        late.cancelled = is_over = True
        return bool(seen)


@pytest.fixture
def watched(host: Host) -> Watched:
    host.start_keeper()
    return Watched(host)


def test_hung_programs_are_told_from_busy_ones_and_well_neighbours_are_left_alone(
    watched: Watched,
) -> None:
    host = watched.host
    watched.frozen = True
    stopped, well = (watched.start(host.spec(number)) for number in (0, 1))
    # Their servers stand still, their first processes do not: to visitors that is a deadlock, or a long
    # request.
    idle, busy = (watched.start(host.spec(number, mode="polite")) for number in (2, 3))
    for one in (idle, busy):
        os.kill(_server_of(host, one), signal.SIGSTOP)
    burner = ("sh", "-c", "while :; do :; done")
    threading.Thread(
        target=lambda: host.driver().exec(busy.instance_id, burner, timeout_seconds=25), daemon=True
    ).start()
    os.kill(stopped.pid, signal.SIGSTOP)
    everybody = (stopped, well, idle, busy)
    # What stands still for a copy of ours is not blamed.
    assert not watched.until(lambda: any(one.troubles for one in everybody), seconds=2)
    watched.frozen = False
    sick = (stopped, idle, busy)
    assert watched.until(lambda: all("not_answering" in one.troubles for one in sick))
    assert watched.until(lambda: idle.troubles["not_answering"].wants_start)
    told = {one.instance_id: one.troubles["not_answering"] for one in sick}
    assert told[stopped.instance_id].message.endswith("it was stopped by a signal")
    assert told[idle.instance_id].message == "it gives no answer to GET /healthz within 0.3 s"
    assert told[busy.instance_id].message.endswith("and is at work")
    wants = [told[one.instance_id].wants_start for one in sick]
    assert wants == [True, True, False]
    assert [one.healthy for one in everybody] == [False, True, False, True]
    assert not well.troubles
    os.kill(stopped.pid, signal.SIGCONT)
    assert watched.until(lambda: stopped.healthy and not stopped.troubles)


def _server_of(host: Host, kept: Supervised) -> int:
    found = host.cgroups.pids(kept.instance_id)
    return next(pid for pid in found if Path(f"/proc/{pid}/comm").read_text() == "httpd\n")


def _lose_veth(host: Host, spec: InstanceSpec, _kept: Supervised) -> None:
    veth = plan.veth_of(host.config, spec.published_port)
    subprocess.run(["ip", "link", "del", veth], check=True)


def _veth_down(host: Host, spec: InstanceSpec, _kept: Supervised) -> None:
    veth = plan.veth_of(host.config, spec.published_port)
    subprocess.run(["ip", "link", "set", veth, "down"], check=True)


def _lose_route(host: Host, spec: InstanceSpec, _kept: Supervised) -> None:
    address = plan.address_for(host.config, spec.published_port)
    subprocess.run(["ip", "route", "del", str(address)], check=True)


def _inside(*argv: str) -> Callable[[Host, InstanceSpec, Supervised], None]:
    def act(_host: Host, _spec: InstanceSpec, kept: Supervised) -> None:
        subprocess.run(["nsenter", "-t", str(kept.pid), "-n", "ip", *argv], check=True)

    return act


def _enslave(host: Host, spec: InstanceSpec, _kept: Supervised) -> None:
    bridge, veth = (
        f"{host.config.interface_prefix}br",
        plan.veth_of(host.config, spec.published_port),
    )
    subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", bridge, "up"], check=True)
    subprocess.run(["ip", "link", "set", veth, "master", bridge], check=True)


def _other_mac(host: Host, spec: InstanceSpec, _kept: Supervised) -> None:
    veth = plan.veth_of(host.config, spec.published_port)
    subprocess.run(["ip", "link", "set", veth, "address", "02:00:00:00:00:99"], check=True)


UNPLUGS: dict[str, Callable[[Host, InstanceSpec, Supervised], None]] = {
    "its interface was gone": _lose_veth,
    "its interface was down": _veth_down,
    "no route led to it": _lose_route,
    "its own end was down": _inside("link", "set", "eth0", "down"),
    "its address was gone": _inside("addr", "flush", "dev", "eth0"),
    "its default route was gone": _inside("route", "del", "default"),
    "its interface was made a port of another one": _enslave,
    "its interface had another address": _other_mac,
    "its own end had another address": _inside(
        "link", "set", "eth0", "address", "02:00:00:00:00:98"
    ),
}


def test_an_unplugged_shop_is_plugged_in_again_without_a_restart(watched: Watched) -> None:
    specs = [watched.host.spec(number) for number in range(len(UNPLUGS))]
    shops = [watched.start(spec) for spec in specs]
    for spec, kept, act in zip(specs, shops, UNPLUGS.values(), strict=True):
        act(watched.host, spec, kept)
    assert watched.until(lambda: all("unplugged" in kept.troubles for kept in shops))
    assert [kept.troubles["unplugged"].message for kept in shops] == list(UNPLUGS)
    for spec, kept in zip(specs, shops, strict=True):
        assert not kept.troubles["unplugged"].wants_start
        status = watched.host.driver().status(spec.instance_id)
        with socket.create_connection((status.address, spec.container_port), 5):
            assert status.pid == kept.pid


def test_what_nobody_looks_at_is_put_back_too(watched: Watched) -> None:
    host, specs = watched.host, [watched.host.spec(number) for number in (0, 1, 2)]
    shops = [watched.start(spec) for spec in specs]
    veth = plan.veth_of(host.config, specs[0].published_port)
    address = str(plan.address_for(host.config, specs[0].published_port))
    wrong = ["lladdr", "02:00:00:00:00:97", "nud", "permanent"]
    subprocess.run(["ip", "neigh", "replace", address, *wrong, "dev", veth], check=True)
    _inside("neigh", "replace", str(host.config.address), *wrong, "dev", "eth0")(
        host, specs[1], shops[1]
    )
    _inside("route", "replace", "blackhole", "default")(host, specs[2], shops[2])
    for spec in specs:
        assert not health.answers(
            _address(host, spec), spec.container_port, "/healthz", timeout=0.3
        )
    assert watched.until(
        lambda: all(
            health.answers(_address(host, spec), spec.container_port, "/healthz", timeout=0.2)
            for spec in specs
        )
    )
    assert [host.driver().status(one.instance_id).pid for one in shops] == [
        one.pid for one in shops
    ]


def _address(host: Host, spec: InstanceSpec) -> str:
    return str(plan.address_for(host.config, spec.published_port))


def test_a_shop_that_somebody_else_has_frozen_goes_on_and_is_named(watched: Watched) -> None:
    host, kept = watched.host, watched.start(watched.host.spec())
    wait_until(lambda: host.cgroups.freeze_once(kept.instance_id), what="it stands still")
    assert watched.until(lambda: "not_answering" in kept.troubles)
    told = kept.troubles["not_answering"]
    assert (told.message, told.wants_start) == ("its cgroup was frozen; it goes on", False)
    spec = host.spec()
    assert watched.until(
        lambda: health.answers(_address(host, spec), spec.container_port, "/healthz", timeout=0.2)
    )
    assert kept.healthy


def test_a_shop_out_of_its_cgroup_is_put_back_and_one_without_a_cgroup_asks_for_a_start(
    watched: Watched,
) -> None:
    host, specs = watched.host, [watched.host.spec(number) for number in (0, 1)]
    emptied, removed = (watched.start(spec) for spec in specs)
    for spec in specs:
        for tree in host.cgroups.layout.hierarchies:
            place = tree / f"{host.config.scope}_{host.config.name}" / spec.instance_id
            for pid in (place / "cgroup.procs").read_text().split():
                (tree / "cgroup.procs").write_text(pid)
            if spec is specs[1]:
                place.rmdir()
    assert watched.until(
        lambda: "no_ceilings" in emptied.troubles and "no_ceilings" in removed.troubles
    )
    assert not emptied.troubles["no_ceilings"].wants_start
    assert host.cgroups.holds(emptied.instance_id, emptied.pid)
    assert set(host.cgroups.pids(emptied.instance_id)) >= {emptied.pid}
    assert removed.troubles["no_ceilings"].wants_start
    # Nobody may run beside it, and whoever ends it finds it outside its cgroup, too.
    host.driver().ensure_stopped(removed.instance_id, fence=Fence(1, 2), grace_seconds=1)
    assert host.containers(specs[1]) == 0


def _note_and_stop(loop: Loop, told: list[Answer]) -> Callable[[Answer], None]:
    def note(answer: Answer) -> None:
        told.append(answer)
        loop.stop()

    return note


class _Listener:
    """A program as the network sees it: takes a connection, sends the pieces, and hangs or hangs up."""

    def __init__(self, pieces: tuple[bytes, ...], pause: float, *, hangs: bool) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.heard = b""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(pieces, pause, hangs))
        self._thread.start()

    def _serve(self, pieces: tuple[bytes, ...], pause: float, hangs: bool) -> None:
        peer, _ = self._socket.accept()
        with self._socket, peer, suppress(OSError):
            self.heard = peer.recv(4096)
            for piece in pieces:
                peer.sendall(piece)
                if self._over.wait(pause):
                    return
            if hangs:
                self._over.wait(20)

    def close(self) -> None:
        """Say nothing for no longer, and return once all is closed."""
        self._over.set()
        self._thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
# What a program sends; whether it then hangs with the connection open, or hangs up; what that is.
ACTS: dict[str, tuple[tuple[bytes, ...], bool, Answer]] = {
    "a whole answer, kept open": ((HEAD + b"all of i",), True, Answer.GIVEN),
    "an error page": ((b"HTTP/1.1 500 Oh\r\n\r\n",), False, Answer.GIVEN),
    "hints before it": (
        (HINTS, HEAD + b"all of i"),
        True,
        Answer.GIVEN,
    ),
    "all chunks": ((CHUNKS, b"0\r\n", b"\r\n"), True, Answer.GIVEN),
    "nothing to say": ((b"HTTP/1.1 204 No Content\r\n\r\n",), True, Answer.GIVEN),
    "a silent stream": ((STREAM,), True, Answer.GIVEN),
    "a page without end": ((b"HTTP/1.0 200 OK\r\n\r\n", b"x" * 70_000), True, Answer.GIVEN),
    "a slow page": ((HEAD, *(b"x",) * 7), True, Answer.GIVEN),
    "another protocol": ((b"SSH-2.0-x\r\n",), True, Answer.GIVEN),
    "nothing": ((), True, Answer.SILENT),
    "half a head": ((b"HTTP/1.1 200 OK\r\nContent-",), True, Answer.HALF),
    "a byte at a time": (tuple(bytes([one]) for one in HEAD), True, Answer.HALF),
    "hints and no more": ((HINTS,), True, Answer.HALF),
    "half a page": ((HEAD + b"half",), True, Answer.HALF),
    "half of the chunks": ((CHUNKS,), True, Answer.HALF),
    "hung up at once": ((), False, Answer.CLOSED),
    "hung up in the head": ((b"HTTP/1.1 200",), False, Answer.CLOSED),
}


@pytest.mark.parametrize("act", ACTS)
def test_only_an_answer_that_goes_on_is_one(act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces, hangs, meaning = ACTS[act]
    # All answers here are of 1.2 s at most; what has paused for half of that does not go on.
    monkeypatch.setattr(question, "_PAUSE_SECONDS", 0.6)
    slow = act in ("a byte at a time", "a slow page")
    listener, loop = _Listener(pieces, 0.15 if slow else 0.01, hangs=hangs), Loop()
    told: list[Answer] = []
    note = _note_and_stop(loop, told)
    asked = Question(loop, "127.0.0.1", listener.port, b"GET / HTTP/1.1\r\n\r\n", note)
    quick = meaning in (Answer.GIVEN, Answer.CLOSED) and not slow
    loop.after(10.0 if quick else 1.0, asked.late)
    loop.run()
    listener.close()
    assert told == [meaning]
    assert listener.heard.startswith(b"GET / HTTP/1.1")


def test_a_program_that_takes_no_more_connections_does_not_take_ours() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as held:
        for _ in range(3):  # nobody accepts them; the kernel takes one or two
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        loop, told = Loop(), list[Answer]()
        asked = Question(loop, "127.0.0.1", full.getsockname()[1], b"x", _note_and_stop(loop, told))
        loop.after(0.5, asked.late)
        loop.run()
    assert told == [Answer.NOT_TAKEN]


def test_nobody_there_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    loop = Loop()
    told: list[Answer] = []
    Question(loop, "127.0.0.1", port, b"x", _note_and_stop(loop, told))
    if not told:
        loop.run()
    assert told == [Answer.REFUSED]


def test_the_question_is_a_visitors(host: Host) -> None:
    env = (("MODE", "well"), ("STOA_PUBLIC_URL", "https://acme.example:8443"))
    asked = request_of(host.spec(env=env, health_path="")).decode()
    assert asked.startswith("GET / HTTP/1.1\r\nHost: acme.example:8443\r\n")
    assert "X-Forwarded-Proto: https\r\n" in asked
