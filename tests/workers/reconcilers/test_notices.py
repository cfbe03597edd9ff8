"""Alarms leave the pages: an SMTP server and an HTTP server on loopback are told, once for each change."""

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from tenants.core import alarms, notices
from tenants.core.models import Alarm, Notice
from workers.reconcilers import alarm_channels
from workers.reconcilers import notices as sender

pytestmark = pytest.mark.django_db
KEY = "k3y-that-must-not-be-told"


class Receiver:
    """An HTTP server that keeps what it was sent and answers as it is told to."""

    def __init__(self) -> None:
        receiver = self
        self.status = 200
        self.headers: dict[str, str] = {}
        self.got: list[tuple[dict[str, str], bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                receiver.got.append((dict(self.headers), b"GET"))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?a=b"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def told(self) -> list[tuple[str, str]]:
        found = [json.loads(body)["alarms"] for _, body in self.got if body != b"GET"]
        return [(one["state"], one["key"]) for batch in found for one in batch]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class MailServer:
    """Speaks as much SMTP as a client needs to hand a mail over."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer, peer.makefile("rwb") as wire:
                self._talk(wire)

    def _talk(self, wire: Any) -> None:
        def say(text: str) -> None:
            wire.write(f"{text}\r\n".encode())
            wire.flush()

        say("220 test")
        while line := wire.readline():
            word = line.strip().upper()
            if word.startswith(b"DATA"):
                say("354 go on")
                lines = iter(wire.readline, b".\r\n")
                self.mails.append(b"".join(lines).decode())
            if word.startswith(b"QUIT"):
                say("221 bye")
                return
            say("250 well")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def receiver(settings: Settings, tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver()
    settings.STOA_ALARM_WEBHOOK, settings.ALARM_WEBHOOK_KEY = made.url, KEY
    settings.STOA_VAR = tmp_path
    yield made
    made.close()


@pytest.fixture
def mail_server(settings: Settings) -> Iterator[MailServer]:
    made = MailServer()
    settings.STOA_SMTP_URL = f"smtp://127.0.0.1:{made.port}"
    settings.STOA_ALARM_MAIL = "ops@example.org, night@example.org"
    yield made
    made.close()


def _again() -> None:
    """As when the pause of a channel is over."""
    Notice.objects.update(run_after=Now())
    Notice.objects.exclude(sent_at=None).update(sent_at=Now() - timedelta(hours=1))


def test_an_alarm_is_told_when_it_begins_and_when_it_ends_and_not_between(
    receiver: Receiver, mail_server: MailServer
) -> None:
    alarms.keep("host", {"host.one.0.disk_full": "one is full\nreally"})
    for _ in range(3):
        sender.send()
        alarms.keep("host", {"host.one.0.disk_full": "one is fuller"})
    assert receiver.told == [("opened", "host.one.0.disk_full")]
    assert len(mail_server.mails) == 1
    assert "To: ops@example.org, night@example.org" in mail_server.mails[0]
    assert "opened: one is full really" in mail_server.mails[0].replace("\r\n ", " ")
    _again()
    alarms.keep("host", {})
    sender.send()
    assert receiver.told[1:] == [("closed", "host.one.0.disk_full")]
    assert len(mail_server.mails) == 2
    alarms.keep("host", {"host.one.0.disk_full": "again"})
    _again()
    sender.send()
    assert receiver.told[2:] == [("opened", "host.one.0.disk_full")]


def test_what_is_sent_is_signed_and_says_no_secret(receiver: Receiver) -> None:
    alarms.keep("host", {"host.one.0.disk_full": "満杯です"})
    sender.send()
    ((headers, body),) = receiver.got
    moment, signature = (part.partition("=")[2] for part in headers["X-Stoa-Signature"].split(","))
    wanted = hmac.new(KEY.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    assert signature == wanted
    assert json.loads(body)["alarms"][0]["message"] == "満杯です"
    assert KEY.encode() not in body + str(headers).encode()


@pytest.mark.parametrize("status", [500, 404, 302])
def test_what_a_webhook_does_not_take_is_told_again_later_and_redirects_are_not_followed(
    receiver: Receiver, status: int
) -> None:
    receiver.status, receiver.headers = status, {"Location": receiver.url}
    alarms.keep("host", {"host.one.0.disk_full": "full"})
    assert f"answered {status}" in sender.send()
    alarms.keep("host", {"host.one.0.disk_full": "full", "host.two.0.disk_full": "full too"})
    sender.send()
    assert len(receiver.got) == 1, "a channel that failed rests"
    first = json.loads(receiver.got[0][1])["alarms"][0]["id"]
    receiver.status, receiver.headers = 204, {}
    _again()
    sender.send()
    assert receiver.told[1:] == [
        ("opened", "host.one.0.disk_full"),
        ("opened", "host.two.0.disk_full"),
    ]
    assert json.loads(receiver.got[1][1])["alarms"][0]["id"] == first, "told again by the same id"


def test_one_dead_channel_does_not_keep_the_other_from_being_told_and_is_an_alarm_itself(
    receiver: Receiver, settings: Settings
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    settings.STOA_SMTP_URL = f"smtp://127.0.0.1:{port}"
    alarms.keep("host", {"host.one.0.disk_full": "full"})
    for _ in range(4):
        sender.send()
        _again()
    assert receiver.told[0] == ("opened", "host.one.0.disk_full")
    trouble = Alarm.objects.get(key="notices.mail", cleared_at=None)
    assert "refused" in trouble.message
    settings.STOA_SMTP_URL = ""
    _again()
    sender.send()
    assert not Alarm.objects.filter(key="notices.mail", cleared_at=None).exists()


def test_a_webhook_that_never_answers_does_not_hold_the_round(
    receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm_channels, "WAIT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.STOA_ALARM_WEBHOOK = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        alarms.keep("host", {"host.one.0.disk_full": "full"})
        assert "does not answer" in sender.send()


def test_one_that_trickles_is_hung_up_on(
    receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm_channels, "WHOLE_SECONDS", 0.5)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle() -> None:
            peer, _ = server.accept()
            with peer:
                while not over.wait(0.05):
                    try:
                        peer.sendall(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=trickle)
        thread.start()
        settings.STOA_ALARM_WEBHOOK = f"http://127.0.0.1:{server.getsockname()[1]}/"
        alarms.keep("host", {"host.one.0.disk_full": "full"})
        assert "webhook" in sender.send()
        over.set()
        thread.join()
    assert Notice.objects.get(channel="webhook").sent_at is None


def test_a_storm_is_one_message_with_the_first_and_the_number(
    receiver: Receiver, mail_server: MailServer
) -> None:
    alarms.keep(
        "host", {f"host.h{number}.0.disk_full": f"host {number} is full" for number in range(300)}
    )
    sender.send()
    document = json.loads(receiver.got[0][1])
    assert (len(receiver.got), len(document["alarms"]), document["more"]) == (1, 50, 250)
    assert len(mail_server.mails) == 1
    assert "and 250 more" in mail_server.mails[0]


def test_mails_about_alarms_that_come_and_go_are_sent_once_a_minute(
    receiver: Receiver, mail_server: MailServer
) -> None:
    for number in range(6):
        alarms.keep("host", {"host.one.0.disk_full": "full"} if number % 2 == 0 else {})
        sender.send()
    assert len(mail_server.mails) == 1
    _again()
    sender.send()
    assert len(mail_server.mails) == 2
    assert mail_server.mails[1].count("host.one.0.disk_full") == 5


def test_a_change_that_is_undone_is_not_told(receiver: Receiver) -> None:
    from django.db import transaction

    class UndoneError(Exception):
        pass

    def change() -> None:
        with transaction.atomic():
            alarms.keep("host", {"host.one.0.disk_full": "full"})
            raise UndoneError

    with pytest.raises(UndoneError):
        change()
    assert sender.send() == ""


def test_without_a_mail_server_mails_lie_in_the_outbox_and_old_ones_go(
    receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm_channels, "KEPT_IN_OUTBOX", 2)
    settings.STOA_SMTP_URL = ""
    for number in range(4):
        alarms.keep("host", {f"host.h{number}.0.disk_full": "full"})
        sender.send()
        _again()
    written = list((Path(settings.STOA_VAR) / "outbox").glob("*.log"))
    assert len(written) == 2
    assert any("host.h3.0.disk_full" in one.read_text() for one in written)


def test_keeping_alarms_takes_as_many_queries_for_a_thousand_as_for_one(
    receiver: Receiver,
) -> None:
    found = []
    for count in (1, 1000):
        alarms.keep("host", {})
        with CaptureQueriesContext(connection) as queries:
            alarms.keep("host", {f"host.h{count}.{n}.disk_full": "full" for n in range(count)})
        found.append(len(queries))
    assert found[0] == found[1]
    assert Alarm.objects.filter(cleared_at=None).count() == 1000


def test_a_test_is_told_at_once_by_every_channel(
    receiver: Receiver, mail_server: MailServer
) -> None:
    alarms.keep("host", {"host.one.0.disk_full": "full"})
    sender.send()
    key = notices.add_test("ops")
    sender.send()
    assert ("test", key) in receiver.told
    assert key in mail_server.mails[1]
