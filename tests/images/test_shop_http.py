"""How the shop's own HTTP server treats messages and people that misbehave."""

import contextlib
import http.client
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.images.shops import MAIN, PASSWORD, PYTHON, Browser, Shop, running


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join(
        (f"GET {path} HTTP/1.1", "Host: x", *headers, "Connection: close", "", "")
    ).encode()


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"b" * 46000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 230 + b"\r\n", 431),
        (b"POST /cart HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST /cart HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /cart HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /cart HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 405),
        (b"BREW / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405),
        (
            b"POST /cart HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
            415,
        ),
    ],
)
def test_a_message_that_cannot_be_served_gets_its_own_status(
    shop: Shop, message: bytes, status: int
) -> None:
    assert status_of(shop.raw(message)) == status


def test_a_refusal_arrives_even_when_the_whole_body_was_sent(shop: Shop) -> None:
    body = b"x" * 1_000_000
    head = f"POST /cart HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert status_of(shop.raw(head + body)) == 413


def test_unknown_pages_are_404_and_a_slash_too_many_is_forgiven(shop: Shop) -> None:
    visitor = Browser(shop)
    for path in ("/nowhere", "/products/99", "/products/x", "/orders/guess", "//", "/products/1/2"):
        assert visitor.get(path).status == 404, path
    assert visitor.get("/cart/").location == "/cart"


def test_a_wrong_method_names_the_right_ones(shop: Shop) -> None:
    page = Browser(shop).post("/", {})
    assert (page.status, page.headers["Allow"]) == (405, "HEAD, GET")


def test_head_has_the_headers_of_get_and_no_body(shop: Shop) -> None:
    visitor = Browser(shop)
    full, head = visitor.get("/"), visitor.get("/", method="HEAD")
    assert (head.status, head.text) == (200, "")
    assert abs(int(head.headers["Content-Length"]) - len(full.text.encode())) < 10


def test_health_is_calm_and_cheap(shop: Shop) -> None:
    page = Browser(shop).get("/healthz")
    assert (page.status, page.text) == (200, "ok\n")
    assert page.headers["Set-Cookie"] is None
    assert "/healthz" not in shop.stop()[1]


def test_one_connection_serves_many_requests_also_pipelined(shop: Shop) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=5)
    for _ in range(3):
        connection.request("GET", "/cart")
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
    connection.close()
    keep = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    assert shop.raw(keep * 40 + get("/healthz")).count(b"HTTP/1.1 200 OK") == 41


def test_every_page_has_a_strict_content_policy(shop: Shop) -> None:
    for path in ("/", "/cart", "/nowhere", "/admin/login"):
        page = Browser(shop).get(path)
        assert page.headers["Content-Security-Policy"].startswith(
            "default-src 'none'; style-src 'self'"
        )
        assert " style=" not in page.text
        assert "<script" not in page.text


def test_slow_clients_do_not_stall_others_and_lose_their_place(shop: Shop) -> None:
    slow = [socket.create_connection(("127.0.0.1", shop.port)) for _ in range(100)]
    for connection in slow:
        connection.sendall(b"POST /cart HTTP/1.1\r\nHost: x\r\n")
    began = time.monotonic()
    assert Browser(shop).get("/").status == 200
    assert time.monotonic() - began < 5, "well before the slow ones lose their place"
    slow[0].settimeout(13)
    assert slow[0].recv(100) == b"", "closed once its time for a head ran out"
    for connection in slow:
        connection.close()


def connected(shop: Shop, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", shop.port), timeout=15) for _ in range(count)]


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HTTP/1.1\r\n",
        b"POST /cart HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nx",
    ],
    ids=["nothing", "half a head", "half a body"],
)
def test_whoever_is_waited_for_longest_gives_way_to_who_comes_now(shop: Shop, begun: bytes) -> None:
    crowd = connected(shop, 250)  # 128 take all places, the others wait for one
    for connection in crowd:
        connection.sendall(begun)
    began = time.monotonic()
    for _ in range(3):
        assert Browser(shop).get("/").status == 200
    assert time.monotonic() - began < 7, "well before the first of them runs out of time"
    assert crowd[0].recv(100) == b""
    crowd[-1].setblocking(False)
    with pytest.raises(BlockingIOError):
        crowd[-1].recv(100)  # it came last and still has its place
    for connection in crowd:
        connection.close()


def test_a_burst_of_visitors_is_served_to_the_last(shop: Shop) -> None:
    visitors = connected(shop, 250)  # 128 have a place, the others wait for one
    for connection in visitors:
        connection.sendall(get("/healthz"))
    assert [status_of(connection.recv(100)) for connection in visitors] == [200] * 250
    for connection in visitors:
        connection.close()


def test_an_upload_that_goes_on_is_finished_while_there_are_places(shop: Shop) -> None:
    crowd = connected(shop, 100)
    body = b"do=add&product=1&quantity=1"
    head = (
        b"POST /cart HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    [upload] = connected(shop, 1)
    upload.sendall(head + body[:5])
    crowd += connected(shop, 27)
    time.sleep(1)
    assert Browser(shop).get("/").status == 200
    upload.sendall(body[5:])
    assert status_of(upload.recv(100)) == 403, "it has no ticket"
    for connection in (*crowd, upload):
        connection.close()


def test_connections_beyond_the_most_wait_while_all_others_are_being_answered(shop: Shop) -> None:
    busy = connected(shop, 128)
    many = b"GET /style.css HTTP/1.1\r\nHost: x\r\n\r\n" * 600
    for connection in busy:  # they send and do not read
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            connection.send(many)
    time.sleep(3)
    late = socket.create_connection(("127.0.0.1", shop.port), timeout=1)
    late.sendall(get("/healthz"))
    with pytest.raises(TimeoutError):
        late.recv(100)
    for connection in busy[:5]:
        connection.close()
    late.settimeout(5)
    assert status_of(late.recv(100)) == 200
    late.close()
    for connection in busy[5:]:
        connection.close()


def test_idle_connections_make_room_for_new_ones(shop: Shop) -> None:
    idle = [socket.create_connection(("127.0.0.1", shop.port)) for _ in range(128)]
    for connection in idle:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.recv(1000)
    assert Browser(shop).get("/").status == 200
    for connection in idle:
        connection.close()


def test_term_finishes_what_has_begun_and_ends_with_zero(shop: Shop) -> None:
    Browser(shop).log_in_and_choose_password()
    visitor = Browser(shop)
    form = visitor.get("/admin/login")
    body = f"ticket={form.hidden('ticket')}&secret={PASSWORD.replace(' ', '+')}"
    head = (
        "POST /admin/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Cookie: cart={visitor.cookies['cart']}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    begun = socket.create_connection(("127.0.0.1", shop.port), timeout=10)
    begun.sendall((head + body[:5]).encode())
    idle = socket.create_connection(("127.0.0.1", shop.port), timeout=10)
    time.sleep(0.3)

    shop.process.terminate()
    time.sleep(0.1)
    begun.sendall(body[5:].encode())

    assert status_of(begun.recv(4096)) == 303
    assert shop.process.wait(timeout=5) == 0
    begun.close()
    idle.close()


def test_term_does_not_wait_for_a_connection_that_was_answered_a_moment_ago(shop: Shop) -> None:
    wire = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=10)
    wire.request("GET", "/healthz")
    assert wire.getresponse().read() is not None
    began = time.monotonic()
    shop.process.terminate()
    assert shop.process.wait(10) == 0
    assert time.monotonic() - began < 10, "the connection would be kept for 15 s"
    wire.close()


def test_term_without_anything_to_do_ends_at_once(shop: Shop) -> None:
    began = time.monotonic()
    code, _, complaints = shop.stop()
    assert (code, complaints) == (0, "")
    assert time.monotonic() - began < 10


def test_the_log_has_one_line_per_request_and_no_secrets(shop: Shop) -> None:
    visitor = Browser(shop, X_Forwarded_For="203.0.113.9")
    visitor.fill_cart(1, 1)
    address = visitor.order().location
    visitor.get(f"{address}?token=hidden")
    visitor.get("/%0Aforged%20line")
    lines = shop.stop()[1].splitlines()

    assert any(line.startswith("203.0.113.9 POST /checkout 303 ") for line in lines)
    assert any("GET /orders/* 200" in line for line in lines)
    assert any("/%0Aforged%20line 404" in line for line in lines)
    assert len(lines) == 6
    assert not any("hidden" in line or address in line for line in lines)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("STOA_LANGUAGE", "de"),
        ("STOA_CURRENCY", "euro"),
        ("STOA_FIRST_LOGIN_HASH", "md5:00:00"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(
    tmp_path: Path, name: str, value: str
) -> None:
    ended = subprocess.run(
        [PYTHON, "-I", "-S", "-B", MAIN],
        env={"STOA_DATA": str(tmp_path), name: value},
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    assert ended.returncode == 2
    assert name in ended.stderr
    assert value in ended.stderr or name == "STOA_FIRST_LOGIN_HASH"


def test_a_start_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "shop.db.new").write_bytes(b"half a database")
    with running(tmp_path) as shop:
        assert Browser(shop).get("/").status == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop.db"]


def test_broken_data_is_reported_and_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "shop.db").write_bytes(b"not a database" * 100)
    with pytest.raises(AssertionError, match="cannot be opened"):
        Shop(tmp_path)
    assert (tmp_path / "shop.db").read_bytes().startswith(b"not a database")
