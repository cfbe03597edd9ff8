"""What others notice while strangers press against the door: slow clients, greedy sources, floods.

Claim: `/livez`, the console and a quiet shop answer within twice their p99 alone, whatever is done to the
edge. Beside it stands nginx as Debian delivers it, in front of the same shop under the same load.

    python -m bench.door [--quick] [--json FILE] [--install]

A Stoa of its own whose edge takes 2,000 connections, one shop, and attackers on this machine's loopback:
they come from other addresses than the visitors, open what each kind says, stay for its time and go. All
is bounded. Without nginx its column is left out and the output says how to have it.
"""

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts.common import machine, percentile, said, table, write_json
from bench.parts.options import HOST, PACKAGES, Parser
from bench.parts.stoa import Stoa, stoa

MAXCONN = 2_000
_SLOW = 200
_TARGET_RATIO = 2.0
_FAILED_MS = 5_000.0
_SHOP = "bench1.localhost"
_FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


@dataclass(frozen=True)
class Pressure:
    """One kind: how many connections from how many addresses, what each sends first, and then each tick.

    reads: bytes taken per tick; again: what was shut is opened again, a flood.
    """

    name: str
    count: int
    sources: int
    first: bytes
    tick: bytes = b""
    reads: int = 0
    again: bool = False


def kinds(host: str) -> list[Pressure]:
    """All kinds, against a name the edge serves."""
    name = f"Host: {host}\r\n".encode()
    return [
        Pressure("slow heads", _SLOW, 1, b"GET / HTTP/1.1\r\n" + name, b"X: y\r\n"),
        Pressure(
            "slow bodies",
            _SLOW,
            1,
            b"POST /login/ HTTP/1.1\r\n" + name + _FORM + b"Content-Length: 60000\r\n\r\n",
            b"x",
        ),
        Pressure("slow readers", _SLOW, 1, b"GET / HTTP/1.1\r\n" + name + b"\r\n", b"", 1),
        Pressure("1.25 x maxconn, one source", MAXCONN * 5 // 4, 1, b"GET / HTTP/1.1\r\nHost: "),
        Pressure(
            "1.25 x maxconn, forty sources", MAXCONN * 5 // 4, 40, b"GET / HTTP/1.1\r\nHost: "
        ),
        Pressure(
            "flood of heads", 100, 1, b"GET /?x HTTP/1.1\r\n" + name + b"\r\n", b"", 65_536, True
        ),
        Pressure(
            "flood of bodies",
            50,
            1,
            b"POST /x HTTP/1.1\r\n" + name + b"Content-Length: 1000000\r\n\r\n" + b"x" * 65_536,
            b"x" * 65_536,
            65_536,
            True,
        ),
    ]


@contextmanager
def pressed(port: int, kind: Pressure) -> Iterator[None]:
    """Strangers at the door for as long as the block lasts, in a thread."""
    over = threading.Event()
    ready = threading.Event()
    thread = threading.Thread(target=_press, args=(port, kind, over, ready), daemon=True)
    thread.start()
    ready.wait(30)
    try:
        yield
    finally:
        over.set()
        thread.join(30)


def _press(port: int, kind: Pressure, over: threading.Event, ready: threading.Event) -> None:
    connections: dict[int, socket.socket] = {}
    try:
        while not over.is_set():
            if not ready.is_set() or kind.again:
                for number in range(kind.count):
                    if number not in connections and not over.is_set():
                        _open(port, kind, number, connections)
                ready.set()
            for number, connection in list(connections.items()):
                if not _tick(kind, connection):
                    connection.close()
                    del connections[number]
            over.wait(0.05 if kind.again else 1.0)
    finally:
        ready.set()
        for connection in connections.values():
            connection.close()


def _open(port: int, kind: Pressure, number: int, connections: dict[int, socket.socket]) -> None:
    connection = socket.socket()
    try:
        connection.settimeout(1.0)
        if kind.reads == 1:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.bind((f"127.0.7.{1 + number % kind.sources}", 0))
        connection.connect(("127.0.0.1", port))
        connection.sendall(kind.first)
        connection.setblocking(False)
    except OSError:
        connection.close()
        return
    connections[number] = connection


def _tick(kind: Pressure, connection: socket.socket) -> bool:
    """Send and take what a kind does; False when the other side has closed."""
    try:
        if kind.tick:
            with contextlib.suppress(BlockingIOError):
                connection.send(kind.tick)
        if kind.reads:
            with contextlib.suppress(BlockingIOError):
                return bool(connection.recv(kind.reads))
    except OSError:
        return False
    return True


def visits(
    port: int, asked: Mapping[str, tuple[str, str]], seconds: float
) -> dict[str, list[float]]:
    """Milliseconds of visits, each by a new connection; no 200 counts as the whole patience."""
    found: dict[str, list[float]] = {name: [] for name in asked}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for name, (host, path) in asked.items():
            found[name].append(_visit(port, host, path))
            time.sleep(0.01)
    return found


def _visit(port: int, host: str, path: str) -> float:
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    began = time.monotonic()
    received = b""
    try:
        with socket.create_connection(("127.0.0.1", port), _FAILED_MS / 1000) as connection:
            connection.sendall(request)
            while piece := connection.recv(65_536):
                received += piece
    except OSError:
        return _FAILED_MS
    ok = received.split(b" ", 2)[1:2] == [b"200"]
    return (time.monotonic() - began) * 1000 if ok else _FAILED_MS


@contextmanager
def nginx(shop: str) -> Iterator[int]:
    """Debian's nginx with its own defaults in front of `address:port`; yields its port."""
    with tempfile.TemporaryDirectory(prefix="stoa-bench-nginx-") as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        config = Path(folder, "nginx.conf")
        config.write_text(
            f"pid {folder}/pid; error_log {folder}/error.log; daemon off;\n"
            f"events {{ worker_connections {MAXCONN}; }} worker_processes 1;\n"
            f"http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;\n"
            f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
            f"server {{ listen 127.0.0.1:{port};\n"
            f"location / {{ proxy_pass http://{shop}; proxy_set_header Host $host; }} }} }}\n"
        )
        process = subprocess.Popen([_nginx_path() or "nginx", "-c", str(config)])
        try:
            while _visit(port, _SHOP, "/") >= _FAILED_MS:
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def _nginx_path() -> str | None:
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


def compare(
    port: int, asked: Mapping[str, tuple[str, str]], pressures: Sequence[Pressure], seconds: float
) -> dict[str, dict[str, float]]:
    """p99 per place asked: alone, and under each kind; the share that failed beside it."""
    visits(port, asked, 1.0)
    found = {"alone": _figures(visits(port, asked, 2 * seconds))}
    for kind in pressures:
        with said(kind.name), pressed(port, kind):
            found[kind.name] = _figures(visits(port, asked, seconds))
        time.sleep(1.0)
    return found


def _figures(ms: Mapping[str, list[float]]) -> dict[str, float]:
    figures = {name: round(percentile(values, 0.99), 1) for name, values in ms.items()}
    failed = sum(value >= _FAILED_MS for values in ms.values() for value in values)
    return {**figures, "failed": failed, "asked": sum(len(values) for values in ms.values())}


def run(seconds: float) -> dict[str, dict[str, dict[str, float]]]:
    """Stoa's edge, and nginx where there is one."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    with stoa(settings={"STOA_EDGE_MAXCONN": str(MAXCONN)}) as own:
        with said("one shop"):
            own.start(1, 0.01)
        asked = {
            "/livez": ("localhost", "/livez"),
            "console": ("localhost", "/"),
            "shop": (_SHOP, "/"),
        }
        found["stoa"] = compare(own.http_port, asked, kinds("localhost"), seconds)
        if _nginx_path():
            with nginx(_route(own)) as port:
                found["nginx"] = compare(port, {"shop": (_SHOP, "/")}, kinds(_SHOP), seconds)
    return found


def _route(own: Stoa) -> str:
    """Where the shop's route leads, from the edge's own map."""
    for line in (own.var / "edge" / "routes.map").read_text().splitlines():
        if line.startswith(f"{_SHOP} "):
            return line.partition("@")[2]
    raise SystemExit(f"the edge's map has no route for {_SHOP}")


def shown(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The tables, with each figure as a multiple of that alone."""
    texts = []
    for name, rows in found.items():
        places = [key for key in rows["alone"] if key not in {"failed", "asked"}]
        lines = [
            (
                kind,
                *(f"{row[p]:g} ({row[p] / max(rows['alone'][p], 0.1):.1f}x)" for p in places),
                f"{row['failed']:g} of {row['asked']:g}",
            )
            for kind, row in rows.items()
        ]
        texts.append(table([f"{name}: p99 in ms", *places, "failed"], lines))
    return "\n\n".join(texts)


def main(argv: Sequence[str]) -> int:
    """Run and say whether the claim holds."""
    quick, needs = "two seconds for each kind instead of ten", (*HOST, "haproxy")
    options = Parser(__doc__, quick=quick, needs=needs, extras=("nginx",)).read(argv)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 3 * MAXCONN)), hard))
    if not _nginx_path():
        package = PACKAGES["nginx"]
        print(f"nginx is left out: apt-get install {package}, or the same bench with --install")
    found = run(2.0 if options.quick else 10.0)
    print(shown(found))
    rows = found["stoa"]
    worst = max(
        row[place] / max(rows["alone"][place], 0.1)
        for row in rows.values()
        for place in row
        if place not in {"failed", "asked"}
    )
    print(
        f"\nworst p99 under pressure: {worst:.1f} x that alone (claim: at most {_TARGET_RATIO:g})"
    )
    write_json(options.json, {"machine": asdict(machine()), "found": found, "worst": worst})
    return 0 if worst <= _TARGET_RATIO else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
