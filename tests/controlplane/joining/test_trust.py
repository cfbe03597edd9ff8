"""Before a machine knows whom it talks to, it says nothing that is worth hearing."""

import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controlplane.joining import trust
from controlplane.joining.errors import (
    JoiningError,
    RefusedError,
    TokenTextError,
    TrustError,
    UnreachableError,
)
from controlplane.secrets import pool_ca
from tests.support.certificates import fingerprint

SECRET = "s3cret" * 6 + "00"
NOW = datetime.now(UTC)


class Listener:
    """Answers over TLS as a depot would, and writes down every byte it could read."""

    def __init__(self, folder: Path, *, ca: Path, date: datetime | None = None) -> None:
        self.heard = ""
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers["Content-Length"] or 0)
                body = self.rfile.read(length).decode()
                listener.heard += f"{self.requestline}\n{self.headers}{body}\n"
                sent = ca.read_bytes() if self.path.endswith("/ca") else b'{"detail": "no"}'
                self.send_response_only(200 if self.path.endswith("/ca") else 403)
                self.send_header("Date", format_datetime(date or datetime.now(UTC), usegmt=True))
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_GET = do_POST = _answer  # noqa: N815 - their names there

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "depot.crt", folder / "depot.key")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


Listen = Callable[..., Listener]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Listen]:
    """Start listeners; each has a CA of its own below tmp_path/<name>."""
    made: list[Listener] = []

    def start(name: str = "right", *, ca: Path | None = None, **more: object) -> Listener:
        made.append(Listener(tmp_path / name, ca=ca or tmp_path / name / "pool-ca.crt", **more))  # type: ignore[arg-type]
        return made[-1]

    for name in ("right", "other"):
        (tmp_path / name).mkdir()
        certify(tmp_path / name)
    yield start
    for one in made:
        one.close()


def certify(folder: Path, *, places: tuple[str, ...] = ("127.0.0.1",), now: datetime = NOW) -> None:
    pool_ca.ensure(folder, {"depot": "root"}, list(places), now=now)


def token_for(folder: Path) -> trust.JoinTokenText:
    pin = fingerprint(folder / "pool-ca.crt")
    return trust.parse(f"J1.{pin}.{'k' * 12}.{SECRET}")


def join(listener: Listener, token: trust.JoinTokenText) -> None:
    """As a join begins: meet, then send the token."""
    depot = trust.meet(listener.url, token.ca_sha256)
    depot.ask("POST", "join", {"key_id": token.key_id, "secret": token.secret})


def test_whom_the_token_names_is_asked(listen: Listen, tmp_path: Path) -> None:
    listener = listen()
    with pytest.raises(RefusedError, match="no"):
        join(listener, token_for(tmp_path / "right"))
    assert SECRET in listener.heard


def test_another_ca_hears_no_token(listen: Listen, tmp_path: Path) -> None:
    listener = listen("other")
    with pytest.raises(TrustError, match="the token was not sent"):
        join(listener, token_for(tmp_path / "right"))
    assert listener.heard.startswith("GET /internal/v1/ca HTTP/1.1\n")
    assert listener.heard.count("HTTP/1.1") == 1
    for word in (SECRET, "k" * 12, "uthorization"):
        assert word not in listener.heard


def test_one_in_between_that_repeats_the_right_ca_hears_no_token(
    listen: Listen, tmp_path: Path
) -> None:
    listener = listen("other", ca=tmp_path / "right" / "pool-ca.crt")
    with pytest.raises(TrustError, match="not signed by the pool's CA"):
        join(listener, token_for(tmp_path / "right"))
    assert SECRET not in listener.heard


def test_a_second_certificate_behind_the_right_one_is_not_believed(
    listen: Listen, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_text(
        "".join((tmp_path / name / "pool-ca.crt").read_text() for name in ("right", "other"))
    )
    listener = listen("other", ca=both)
    with pytest.raises(TrustError, match="not signed"):
        join(listener, token_for(tmp_path / "right"))
    assert SECRET not in listener.heard


@pytest.mark.parametrize(
    ("places", "made_at", "words"),
    [
        (("10.9.9.9",), NOW, "STOA_POOL_ADDRESS or STOA_POOL_NAMES"),
        (("127.0.0.1",), NOW - timedelta(days=500), "has run out; run bin/up"),
        (("127.0.0.1",), NOW + timedelta(days=10), "is not valid yet; is this machine's clock"),
    ],
)
def test_a_certificate_that_is_not_good_is_explained(
    listen: Listen, tmp_path: Path, places: tuple[str, ...], made_at: datetime, words: str
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    pool_ca.ensure(folder, {}, [], now=NOW)
    certify(folder, places=places, now=made_at)
    listener = listen("odd")
    with pytest.raises(TrustError, match=words) as refused:
        join(listener, token_for(folder))
    assert "The token was not sent" in str(refused.value)
    assert SECRET not in listener.heard


@pytest.mark.parametrize(("hours", "words"), [(3, "behind"), (-3, "ahead of")])
def test_clocks_that_are_far_apart_are_named(
    listen: Listen, tmp_path: Path, hours: int, words: str
) -> None:
    listener = listen(date=datetime.now(UTC) + timedelta(hours=hours))
    with pytest.raises(TrustError, match=rf"clock is 1\d{{4}} s {words}"):
        join(listener, token_for(tmp_path / "right"))
    assert SECRET not in listener.heard


def test_nobody_there_is_told_with_the_port() -> None:
    with pytest.raises(UnreachableError, match="port 1 there"):
        trust.meet("https://127.0.0.1:1", "0" * 64)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "J1",
        f"J1.{'0' * 64}.{'k' * 12}",
        f"J2.{'0' * 64}.{'k' * 12}.{SECRET}",
        f"J1.{'0' * 63}.{'k' * 12}.{SECRET}",
    ],
)
def test_what_is_no_token_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(TokenTextError) as refused:
        trust.parse(text)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("url", ["http://10.0.0.1:1", "https://", "10.0.0.1", "https://a/b"])
def test_only_https_will_do(url: str) -> None:
    with pytest.raises(JoiningError, match="https://<address>:<port>"):
        trust.meet(url, "0" * 64)


def test_a_token_does_not_show_its_secret() -> None:
    assert SECRET not in repr(trust.parse(f"J1.{'0' * 64}.{'k' * 12}.{SECRET}"))
