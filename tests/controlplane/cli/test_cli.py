"""`stoa` against an API: what it prints, what it asks, how it ends, and how fast it starts."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from settings.inner import REPO
from tests.tenants.api.described import misfits, schema_of_request

AMOUNT = {"capacity": 4000, "reserve": 400, "booked": 10, "measured": 100}
HOST = {
    "name": "one",
    "state": "open",
    "address": "10.0.0.2",
    "ports": [10000, 32767],
    "zone": "z1",
    "engine": "crun",
    "epoch": 1,
    "labels": {"rack": "b4"},
    "instances": 1,
    "health": "alive",
    "is_heard": True,
    "seen_at": "2026-11-24T10:00:00Z",
    "cpu_millis": AMOUNT,
    "memory_bytes": AMOUNT,
    "disk_bytes": AMOUNT,
}
OPERATION = {
    "id": "op_1",
    "verb": "remove",
    "tenant": "acme",
    "state": "succeeded",
    "seconds": 1.5,
    "error": None,
    "steps": [{"name": "stop", "state": "done", "seconds": 0.5, "detail": ""}],
}


class Console:
    """Answers as the API does, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.answers: dict[str, tuple[int, Any]] = {
            "GET /api/v1/hosts": (200, {"results": [HOST, HOST | {"name": "two", "zone": "z2"}]}),
            "GET /api/v1/hosts/one": (200, HOST),
            "PATCH /api/v1/hosts/one": (200, HOST),
            "POST /api/v1/hosts/one/cordon": (200, HOST),
            "POST /api/v1/hosts/one/forget": (204, None),
            "DELETE /api/v1/hosts/one": (409, {"detail": "one holds 3 shops; drain it first"}),
            "DELETE /api/v1/tenants/acme": (202, {"operation": OPERATION}),
            "GET /api/v1/operations/op_1": (200, OPERATION),
        }
        console = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers["Content-Length"] or 0)
                body = json.loads(self.rfile.read(length) or "null")
                console.asked.append((self.command, self.path, body))
                if self.headers["Authorization"] != "Bearer stoa_t":
                    status, found = 401, {"detail": "This token is unknown."}
                else:
                    status, found = console.answers.get(
                        f"{self.command} {self.path.partition('?')[0]}",
                        (404, {"detail": "there is no such host"}),
                    )
                sent = b"" if found is None else json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - their names there

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        # What `stoa` sends is what the API says that it takes.
        for method, path, body in self.asked:
            schema = schema_of_request(method, path)
            assert body is None or (schema and misfits(schema, body) == []), (path, body)


@pytest.fixture
def console() -> Iterator[Console]:
    made = Console()
    yield made
    made.close()


def stoa(
    console: Console, home: Path, *words: str, said: str = "", **environ: str
) -> "subprocess.CompletedProcess[str]":
    variables = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "PYTHONPATH": str(REPO),
        "STOA_URL": console.url,
        "STOA_TOKEN": "stoa_t",
    }
    return subprocess.run(
        [sys.executable, "-m", "controlplane.cli", *words],
        check=False,
        capture_output=True,
        text=True,
        input=said,
        timeout=30,
        env=variables | environ,
    )


def test_hosts_are_listed_as_a_table_and_as_json(console: Console, tmp_path: Path) -> None:
    table = stoa(console, tmp_path, "host", "list").stdout
    assert table.splitlines()[0].split()[:4] == ["NAME", "STATE", "SEEN", "ZONE"]
    assert "rack=b4" in table
    assert "\033" not in table
    found = json.loads(stoa(console, tmp_path, "host", "list", "--json", "--zone", "z2").stdout)
    assert [row["name"] for row in found] == ["two"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["host", "show", "nope"], 3, "there is no such host"),
        (["host", "remove", "one", "--yes"], 4, "one holds 3 shops"),
        (["host", "remove", "one"], 2, "--yes"),
        (["host", "set", "one"], 2, "nothing to change"),
        (["host", "label", "one", "novalue"], 2, "KEY=VALUE"),
        (["host", "token", "create", "--ttl", "soon"], 2, "30m, 24h or 7d"),
        (["host", "frobnicate"], 2, "No such command"),
        (["host", "join", "https://10.0.0.1:1", "--token", "junk"], 1, "no join token"),
        (["host", "leave", "--var", "/nonexistent-host"], 1, "no joined host"),
        (["tenants", "show", "nope"], 3, "there is no such"),
    ],
)
def test_how_it_ends(
    console: Console, tmp_path: Path, words: list[str], code: int, told: str
) -> None:
    done = stoa(console, tmp_path, *words)
    assert (done.returncode, told in done.stderr) == (code, True), done
    assert "Traceback" not in done.stderr


def test_a_token_that_does_not_work_says_where_to_get_one(console: Console, tmp_path: Path) -> None:
    done = stoa(console, tmp_path, "host", "list", STOA_TOKEN="stoa_other")
    assert (done.returncode, "stoa login" in done.stderr) == (1, True)


def test_nothing_is_lost_unasked(console: Console, tmp_path: Path) -> None:
    done = stoa(console, tmp_path, "host", "forget", "one")
    assert done.returncode == 2
    assert "holds 1 shops" in done.stderr
    assert [one[0] for one in console.asked] == ["GET"]
    assert stoa(console, tmp_path, "host", "forget", "one", "--yes").returncode == 0
    assert console.asked[-1] == ("POST", "/api/v1/hosts/one/forget", {"confirm": "one"})


def test_labels_are_added_and_taken_away_one_by_one(console: Console, tmp_path: Path) -> None:
    stoa(console, tmp_path, "host", "label", "one", "disk=ssd", "rack-")
    assert console.asked[-1] == ("PATCH", "/api/v1/hosts/one", {"labels": {"disk": "ssd"}})


def test_a_login_is_kept_for_its_owner_alone(console: Console, tmp_path: Path) -> None:
    nothing = {"STOA_URL": "", "STOA_TOKEN": "", "STOA_VAR": str(tmp_path / "none")}
    assert stoa(console, tmp_path, "host", "list", **nothing).returncode == 2
    console.answers["GET /api/v1/tenants"] = (200, {"results": [], "next": None})
    done = stoa(console, tmp_path, "login", console.url, said="stoa_t\n", **nothing)
    assert done.returncode == 0, done.stderr
    file = tmp_path / ".config/stoa/login.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert stoa(console, tmp_path, "host", "list", **nothing).returncode == 0


def test_an_operation_is_followed_to_its_end(console: Console, tmp_path: Path) -> None:
    done = stoa(console, tmp_path, "operation", "follow", "op_1")
    assert done.returncode == 0
    assert "remove acme: succeeded after 1.5 s" in done.stdout
    failed = OPERATION | {"state": "failed", "error": {"code": "x", "message": "no room"}}
    console.answers["GET /api/v1/operations/op_1"] = (200, failed)
    done = stoa(console, tmp_path, "tenants", "remove", "acme", "--yes")
    assert (done.returncode, "no room" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ["tenants", "create", "acme"],
        ["tenants", "create", "acme", "--email", "a@example.org", "--language", "ja"],
        ["tenants", "move", "acme"],
        ["tenants", "data", "acme", "--newest", "--yes"],
        ["tenants", "data", "acme", "--begin-empty", "--yes"],
        ["snapshots", "restore", "acme", "snp_x", "--yes"],
        ["host", "set", "one", "--zone", "b", "--reserve-cpu-millis", "5"],
        ["host", "label", "one", "rack=b4", "old-"],
        ["host", "lost", "one", "--yes"],
        ["host", "forget", "one", "--yes"],
        ["host", "token", "create", "--label", "rack=b4", "--ttl", "30m"],
    ],
)
def test_a_command_sends_what_the_api_takes(
    console: Console, tmp_path: Path, words: list[str]
) -> None:
    stoa(console, tmp_path, *words)
    (body,) = [body for _, _, body in console.asked if body is not None]
    assert body  # and the console looks at it, when it closes


def test_every_command_explains_itself(console: Console, tmp_path: Path) -> None:
    for words in ([], ["host"], ["host", "join"], ["host", "token"], ["pool"], ["tenants"]):
        done = stoa(console, tmp_path, *words, "--help")
        assert (done.returncode, "Usage: stoa" in done.stdout) == (0, True)


def test_it_starts_without_what_it_does_not_need(console: Console, tmp_path: Path) -> None:
    code = "import controlplane.cli.app, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=REPO
    )
    heavy = {"django", "celery", "rich", "httpx", "cryptography", "numpy", "rest_framework"}
    assert not heavy & set(done.stdout.split())
