"""The programs web and depot themselves, as bin/up runs them: gunicorn, our settings, PostgreSQL."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from controlplane.monitoring import metrics
from controlplane.secrets import pool_ca
from tenants.accounts import tokens
from tenants.shops.models import Tenant
from tenants.snapshots.models import Snapshot
from tenants.snapshots.repositories import addresses
from tenants.snapshots.repositories.directory import MARK
from tests.factories import make_catalogue, make_host, make_shop
from tests.runtime.edge.conftest import free_port_base

pytestmark = pytest.mark.django_db(transaction=True)

CHUNKED = "Transfer-Encoding: chunked\r\n"
KEY = "ten_0123456789abcdef/snp_0123456789abcdef"


class Program:
    """A running program, spoken to in raw bytes."""

    def __init__(self, name: str, place: Path, **environ: str) -> None:
        self.port, self.place, self._ca = free_port_base(), place, None
        if name == "depot":
            pool_ca.ensure(place, {"depot": "root"}, ["127.0.0.1"], now=datetime.now(UTC))
            self._ca = place / "pool-ca.crt"
            environ |= {
                "STOA_DEPOT_CERT": str(place / "depot.crt"),
                "STOA_DEPOT_KEY": str(place / "depot.key"),
            }
        database = connection.settings_dict
        url = f"postgres://stoa@/{database['NAME']}?host={database['HOST']}"
        argv = [
            "-m",
            "gunicorn",
            "-c",
            f"python:controlplane.serving.{name}_server",
            "--workers",
            "1",
        ]
        argv += ["--bind", f"127.0.0.1:{self.port}", "--no-control-socket"]
        application = {"web": "controlplane.wsgi", "depot": "controlplane.depot.app"}[name]
        self.log = place / "log"
        self.process = subprocess.Popen(
            [sys.executable, *argv, application],
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "controlplane.settings.test",
                "DATABASE_URL": url,
                "STOA_PROGRAM": name,
                **environ,
            },
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )

    def connect(self) -> socket.socket:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        if self._ca is None:
            return raw
        context = ssl.create_default_context(cafile=str(self._ca))
        return context.wrap_socket(raw, server_hostname="127.0.0.1")

    def say(self, head: str, body: bytes = b"") -> tuple[int, str]:
        """Status and text of the answer to a request; Host and the empty line are added."""
        with contextlib.closing(self.connect()) as client:
            client.sendall(f"{head}Host: localhost\r\nConnection: close\r\n\r\n".encode() + body)
            told = bytearray()
            with contextlib.suppress(ConnectionResetError):
                while piece := client.recv(65536):
                    told += piece
        return int(told[9:12] or b"0"), told.partition(b"\r\n\r\n")[2].decode()

    def stop(self) -> str:
        self.process.terminate()
        self.process.wait(30)
        return self.log.read_text()


@contextlib.contextmanager
def running(name: str, place: Path, **environ: str) -> Iterator[Program]:
    program = Program(name, place, **environ)
    try:
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError):
                program.connect().close()
                break
            assert time.monotonic() < deadline, program.log.read_text()
            time.sleep(0.2)
        yield program
    finally:
        program.stop()


def chunks(body: bytes, size: int = 1000) -> bytes:
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"


def test_the_web_reads_chunks_and_refuses_what_it_should_early(db: None, tmp_path: Path) -> None:
    make_catalogue()
    token = tokens.create("operator", is_operator=True).text
    head = f"POST /api/v1/tenants HTTP/1.1\r\nAuthorization: Bearer {token}\r\n"
    as_json = head + "Content-Type: application/json\r\n"
    asked: dict[str, Any] = {"slug": "acme", "shop_name": "Acme", "email": "a@example.com"}
    with running("web", tmp_path) as web:
        assert web.say(as_json + CHUNKED, chunks(json.dumps(asked).encode(), 7))[0] == 202
        large = json.dumps(asked | {"shop_name": "x" * 70_000}).encode()
        for told in (
            web.say(as_json + CHUNKED, chunks(large)),
            web.say(as_json + f"Content-Length: {len(large)}\r\n", large),
            web.say(as_json + "Content-Length: 99999999\r\n"),  # not a byte of it comes
            web.say("POST /login/ HTTP/1.1\r\nContent-Length: 99999999\r\n"),
            web.say("POST /login/ HTTP/1.1\r\nCookie: stoa-csrf=" + "a" * 32 + "\r\n" + CHUNKED,
                    chunks(b"f=" + b"x" * 200_000)),
        ):  # fmt: skip
            assert told[0] == 413
        assert web.say(head + "Content-Type: text/plain\r\n" + CHUNKED, chunks(b"x"))[0] == 415
        files = (
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n--b--\r\n'
        )
        kind = f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(files)}\r\n"
        assert web.say(f"POST /login/ HTTP/1.1\r\n{kind}", files)[0] == 415
        with contextlib.ExitStack() as stack:
            for _ in range(40):
                slow = stack.enter_context(contextlib.closing(web.connect()))
                slow.sendall(
                    b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\nx"
                )
            began = time.monotonic()
            assert web.say("GET /livez HTTP/1.1\r\n")[0] == 200
            assert time.monotonic() - began < 5
    assert "Traceback" not in web.log.read_text()


def test_what_a_web_process_counts_is_shown_and_outlives_it(db: None, tmp_path: Path) -> None:
    make_catalogue()
    make_host(capacity_memory_bytes=1)
    token = tokens.create("operator", is_operator=True).text
    told = json.dumps({"slug": "acme", "shop_name": "Acme", "email": "a@example.com"}).encode()
    by = f"Authorization: Bearer {token}\r\n"
    sign_up = f"POST /api/v1/tenants HTTP/1.1\r\n{by}Content-Type: application/json\r\n"
    sign_up += f"Content-Length: {len(told)}\r\n"
    counted = 'stoa_placement_refusals_total{asked_by="sign_up",reason="memory"}'
    with running("web", tmp_path) as web:
        assert web.say(sign_up, told)[0] == 503
        deadline = time.monotonic() + 60
        while f"{counted} 1.0" not in web.say(f"GET /metrics HTTP/1.1\r\n{by}")[1]:
            assert time.monotonic() < deadline, web.log.read_text()
            time.sleep(0.5)
        assert web.say(sign_up, told)[0] == 503
    # It had no time to send this before its end came.
    assert f"{counted} 2.0" in metrics.read().decode()
    assert "Traceback" not in web.log.read_text()


@pytest.fixture
def depot(db: None, tmp_path: Path) -> Iterator[Program]:
    """The depot, with a snapshot under KEY that is being taken."""
    shop = make_shop().tenant
    tenant_id, _, snapshot_id = KEY.partition("/")
    Tenant.objects.filter(pk=shop.pk).update(public_id=tenant_id)
    Snapshot.objects.create(tenant_id=shop.pk, public_id=snapshot_id, reason="periodic")
    kept = tmp_path / "snapshots"
    kept.mkdir()
    (kept / MARK).touch()
    with running("depot", tmp_path, STOA_SNAPSHOTS=str(kept)) as program:
        yield program
    assert "Traceback" not in program.log.read_text()


def test_the_depot_answers_anybody_briefly(depot: Program) -> None:
    form = "Content-Type: application/x-www-form-urlencoded\r\nCookie: stoa-csrf=" + "a" * 32
    upload = f"POST /internal/v1/ca HTTP/1.1\r\n{form}\r\n"
    assert depot.say(upload + "Content-Length: 300000000\r\n")[0] == 413
    assert depot.say(upload + "Content-Length: 3\r\n", b"a=b")[0] == 405
    assert depot.say("GET /internal/v1/hosts/%00 HTTP/1.1\r\n")[0] == 400
    assert depot.say("GET /nothing HTTP/1.1\r\n")[0] == 404


def test_the_depot_takes_an_archive_once_at_a_time_and_no_larger(depot: Program) -> None:
    def put(announced: int, sent: bytes, url: str = "") -> int:
        url = url or addresses.signed("PUT", KEY, most=100_000)
        return depot.say(f"PUT {url} HTTP/1.1\r\nContent-Length: {announced}\r\n", sent)[0]

    kept = depot.place / "snapshots"
    url = addresses.signed("PUT", KEY, most=100_000)
    assert put(200_000, b"x") == 413
    assert put(9, b"b" * 9, url.replace("max=1", "max=9")) == 403
    assert depot.say(f"PUT {url} HTTP/1.1\r\n{CHUNKED}", chunks(b"x"))[0] == 411
    with contextlib.closing(depot.connect()) as first:
        first.sendall(f"PUT {url} HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n".encode())
        first.sendall(b"a" * 80_000)
        deadline = time.monotonic() + 30
        while not [*kept.glob("*/.*.part")]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert put(9, b"b" * 9) == 503
        first.sendall(b"a" * 10_000)
        assert first.recv(12) == b"HTTP/1.1 201"
    assert (kept / KEY).read_bytes() == b"a" * 90_000
    assert put(9, b"b" * 9) == 201
    assert [one.name for one in (kept / KEY).parent.iterdir()] == [KEY.partition("/")[2]]
