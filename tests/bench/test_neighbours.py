"""What the benchmark of noisy neighbours reckons, and that its visitors count who was turned away."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench import neighbours
from bench.inner import steady
from bench.neighbours import Pair, Period
from bench.parts import burner


def test_the_ratio_is_of_medians_so_that_one_bad_round_proves_nothing() -> None:
    def period(p99: float) -> Period:
        return Period(1.0, p99, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

    rounds = [Pair(period(4.0), period(6.0)), Pair(period(9.0), period(300.0))]
    found = {"cpu": rounds, "disk": [Pair(period(4.0), period(8.0))]}
    assert neighbours.ratios_of(found) == {"cpu": 153.0 / 4.0, "disk": 2.0}
    found["cpu"].append(Pair(period(4.0), period(7.0)))
    assert neighbours.ratios_of(found) == {"cpu": 7.0 / 4.0, "disk": 2.0}


def test_every_way_of_burning_is_in_the_burners_script() -> None:
    cases = burner.SCRIPT.split('case "$BURN" in')[1]
    assert [kind for kind in burner.KINDS if f"  {kind})" not in cases] == []
    done = subprocess.run(["sh", "-n"], input=burner.SCRIPT.encode(), check=False)
    assert done.returncode == 0


def test_a_visit_that_fails_counts_as_the_whole_patience() -> None:
    with (
        _shop(200, b"<html></html>\n") as good,
        _shop(503, b"full") as bad,
        steady.visitors([("127.0.0.1", good), ("127.0.0.1", bad)], 20.0) as public,
    ):
        found = public.visit(0.5)
    assert (len(found.ms), found.failed) == (20, 10)
    assert sorted(found.ms)[10:] == [steady.PATIENCE_SECONDS * 1000] * 10
    assert max(sorted(found.ms)[:10]) < steady.PATIENCE_SECONDS * 1000


@contextmanager
def _shop(status: int, body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
