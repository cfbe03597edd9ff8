"""Images by digest from a control plane that is slow, away, wrong or lying."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runtime.config import ImageAccess
from runtime.errors import HostError, ImageUnavailableError, ImageUnknownError
from runtime.image import ImageStore
from runtime.image import control as control_module
from runtime.image.fetch import DOWNLOADS, Fetcher
from tests.runtime.image.layouts import Entry, layer, write_layout

pytestmark = pytest.mark.root


class Control:
    """Serves the layouts below `shelf`; `spoil` may change an answer: (path, status, body)."""

    def __init__(self, shelf: Path) -> None:
        self.shelf = shelf
        self.spoil: Callable[[str, int, bytes], tuple[int, bytes]] = lambda _p, s, b: (s, b)
        self.asked: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self.before: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        control = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = control.answer(self.path, self.headers.get("Authorization", ""))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def answer(self, path: str, credential: str) -> tuple[int, bytes]:
        with self._lock:
            self.asked[path] += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.before()
            if credential != "Bearer right":
                return 401, b""
            name = path.removesuffix("/manifest").rpartition("sha256:")[2]
            found = list(self.shelf.glob(f"*/blobs/sha256/{name}"))
            return self.spoil(path, 200 if found else 404, found[0].read_bytes() if found else b"")
        finally:
            with self._lock:
                self.at_once -= 1

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    monkeypatch.setattr(control_module, "FIRST_PAUSE_SECONDS", 0.01)
    (tmp_path / "token").write_text("right\n")
    served = Control(tmp_path / "shelf")
    yield served
    served.close()


def fetcher(control: Control, tmp_path: Path) -> Fetcher:
    url = f"http://127.0.0.1:{control.server.server_port}"
    access = ImageAccess(control_url=url, token_file=tmp_path / "token")
    return Fetcher(ImageStore(tmp_path / "store"), access)


def image(control: Control, name: str = "one") -> str:
    return write_layout(control.shelf / name, [layer(Entry("bin/app", os.urandom(100_000)))])


def left(tmp_path: Path) -> list[str]:
    return os.listdir(tmp_path / "store" / "work")  # noqa: PTH208 - names


def test_an_image_is_fetched_by_digest_once(control: Control, tmp_path: Path) -> None:
    digest = image(control)
    assert fetcher(control, tmp_path).ensure(digest).digest == digest
    assert fetcher(control, tmp_path).ensure(digest).digest == digest
    assert sorted(control.asked.values()) == [1, 1, 1]  # manifest, config, layer
    assert left(tmp_path) == []


def test_many_that_want_it_at_once_fetch_it_once(control: Control, tmp_path: Path) -> None:
    digest = image(control)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fetcher(control, tmp_path).ensure(digest), range(4)))
    assert set(control.asked.values()) == {1}


def test_a_failure_that_may_pass_is_tried_again(control: Control, tmp_path: Path) -> None:
    digest = image(control)
    failures = iter([(503, b""), (200, b"cut sh"), (500, b"")])
    control.spoil = lambda _path, status, body: next(failures, (status, body))
    assert fetcher(control, tmp_path).ensure(digest).digest == digest
    assert sum(control.asked.values()) == 6


@pytest.mark.parametrize(
    ("status", "kind", "why", "tries"),
    [
        (404, ImageUnknownError, "the control plane has no sha256", 1),
        (401, ImageUnavailableError, "answered 401 .*is the token .* this host's", 1),
        (503, ImageUnavailableError, "answered 503", 4),
    ],
)
def test_what_stays_wrong_ends_with_the_reason(
    control: Control, tmp_path: Path, status: int, kind: type[Exception], why: str, tries: int
) -> None:
    digest = image(control)
    control.spoil = lambda _path, _status, _body: (status, b"")
    with pytest.raises(kind, match=why):
        fetcher(control, tmp_path).ensure(digest)
    assert sum(control.asked.values()) == tries
    assert left(tmp_path) == []


def test_a_control_plane_that_lies_is_not_believed(control: Control, tmp_path: Path) -> None:
    digest = image(control)
    for part in ("/manifest", "/blobs/"):
        control.spoil = (
            lambda path, status, body, part=part: (  # type: ignore[misc]
                status,
                body[:-1] + b"!" if part in path else body,
            )
        )
        with pytest.raises(ImageUnavailableError, match="is something else"):
            fetcher(control, tmp_path).ensure(digest)
    control.spoil = lambda _path, status, body: (status, body + b"0" * 10_000_000)
    with pytest.raises(ImageUnavailableError, match="is something else"):
        fetcher(control, tmp_path).ensure(digest)
    assert ImageStore(tmp_path / "store").list() == ()
    assert left(tmp_path) == []


def test_at_most_two_images_are_downloaded_at_once(control: Control, tmp_path: Path) -> None:
    digests = [image(control, f"image-{number}") for number in range(5)]
    two = threading.Barrier(DOWNLOADS)
    met: list[bool] = []

    def before() -> None:
        if not met:  # different images in parallel: the first two requests meet
            two.wait(20)
            met.append(True)

    control.before = before
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda digest: fetcher(control, tmp_path).ensure(digest), digests))
    assert control.most_at_once == DOWNLOADS


def test_without_a_control_plane_the_error_says_how_to_get_the_image(tmp_path: Path) -> None:
    with pytest.raises(ImageUnknownError, match="import-image"):
        Fetcher(ImageStore(tmp_path / "store"), ImageAccess()).ensure("sha256:" + "1" * 64)


def test_a_token_that_cannot_be_read_is_named(control: Control, tmp_path: Path) -> None:
    digest = image(control)
    getter = fetcher(control, tmp_path)
    (tmp_path / "token").unlink()
    with pytest.raises(HostError, match="STOA_AGENT_TOKEN_FILE cannot be read"):
        getter.ensure(digest)
