"""What a real HAProxy with our configuration does with requests."""

import dataclasses
import threading
import time
from collections.abc import Callable

import pytest

from runtime.edge.edge import HaproxyEdge
from runtime.edge.routes import EdgeRoute
from tests.runtime.edge.conftest import Answer, Front, exchange, wait_for


def test_a_route_leads_to_its_shop_right_after_apply(front: Front) -> None:
    shop = front.shop("acme")
    assert front.get("acme.localhost").status == 404
    front.edge.apply([EdgeRoute("acme.localhost", shop.value("acme"), 1, 1)])
    answer = front.get("acme.localhost", "/products?x=1")
    assert answer.status == 200
    assert answer.json()["shop"] == "acme"
    assert answer.json()["path"] == "/products?x=1"


@pytest.mark.parametrize(
    "host", ["ACME.LocalHost", "acme.localhost.", "acme.localhost:8080", "Acme.localhost.:1"]
)
def test_case_port_and_final_dot_do_not_matter(front: Front, host: str) -> None:
    front.edge.apply([EdgeRoute("acme.localhost", front.shop("acme").value("acme"), 1, 1)])
    assert front.get(host).status == 200


def test_an_unknown_name_gets_a_page_in_both_languages_that_says_what_to_do(front: Front) -> None:
    answer = front.get("nobody.localhost")
    text = answer.body.decode()
    assert answer.status == 404
    assert "There is no shop at this address" in text
    assert "このアドレスにショップはありません" in text
    assert front.config.console_url in text


BAD_HOSTS = {
    "no Host": b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    "HTTP/1.0 without Host": b"GET / HTTP/1.0\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: acme.localhost\r\nHost: b.localhost\r\nConnection: close\r\n\r\n",
    "comma": b"GET / HTTP/1.1\r\nHost: acme.localhost,b.localhost\r\nConnection: close\r\n\r\n",
    "NUL": b"GET / HTTP/1.1\r\nHost: acme.localhost\0\r\nConnection: close\r\n\r\n",
    "space": b"GET / HTTP/1.1\r\nHost: acme.localhost b\r\nConnection: close\r\n\r\n",
    "empty": b"GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
    "two dots": b"GET / HTTP/1.1\r\nHost: acme.localhost..\r\nConnection: close\r\n\r\n",
    "user part": b"GET / HTTP/1.1\r\nHost: x@acme.localhost\r\nConnection: close\r\n\r\n",
    "bare new line": b"GET / HTTP/1.1\r\nHost: acme.localhost\n\rX: y\r\nConnection: close\r\n\r\n",
    "slash": b"GET / HTTP/1.1\r\nHost: acme.localhost/x\r\nConnection: close\r\n\r\n",
    "very long": b"GET / HTTP/1.1\r\nHost: " + b"a" * 6000 + b"\r\nConnection: close\r\n\r\n",
    "other name in the request line": b"GET http://b.localhost/ HTTP/1.1\r\nHost: acme.localhost\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", BAD_HOSTS.values(), ids=BAD_HOSTS.keys())
def test_a_host_that_is_not_one_clean_name_is_refused_with_400(
    front: Front, request_bytes: bytes
) -> None:
    shop = front.shop("acme")
    front.edge.apply(
        [
            EdgeRoute("acme.localhost", shop.value("acme"), 1, 1),
            EdgeRoute("b.localhost", shop.value("b"), 1, 2),
        ]
    )
    assert exchange(front.config.http_port, request_bytes).status == 400
    assert shop.served == 0


def test_two_equal_hosts_reach_at_most_the_shop_they_name(front: Front) -> None:
    front.edge.apply([EdgeRoute("acme.localhost", front.shop("acme").value("acme"), 1, 1)])
    answer = exchange(
        front.config.http_port,
        b"GET / HTTP/1.1\r\nHost: acme.localhost\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n",
    )
    # HAProxy folds equal ones into one header before any rule sees them.
    assert answer.status == 400 or answer.json()["shop"] == "acme"


@pytest.mark.parametrize(
    "value",
    [
        "a@10.9.9.9:20000",
        "a@127.0.0.1:0",
        "a@0.0.0.0:0",
        "a@127.0.0.1:80",
        "a@",
        "a",
        "@:",
        "a@127.0.0.1",
        "a@x:1",
    ],
)
def test_a_value_that_leads_to_no_host_of_ours_is_answered_503_and_never_connected(
    make_front: Callable[..., Front], value: str
) -> None:
    front = make_front()
    front.start(
        wanted={"odd.localhost": value}
    )  # past the checks of apply, as a damaged file would be
    answer = front.get("odd.localhost")
    assert answer.status == 503
    assert "retry-after: 5" in answer.head.lower()
    assert (
        connections_opened(front) <= 8
    )  # the health probe's and this one, not thousands to itself


def connections_opened(front: Front) -> int:
    info = front.edge._proxy.exchange("show info\n")
    return int(dict(line.split(": ", 1) for line in info.splitlines() if ": " in line)["CumConns"])


# Other names in use for who asks, and other spellings that programs read as the same.
_CLAIMS = [
    f"{name}: 6.6.6.6"
    for name in (
        *("Client-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "Fastly-Client-IP"),
        *("X-Cluster-Client-IP", "Forwarded-For", "X-Scheme", "X-URL-Scheme", "Front-End-Https"),
        *("X.Forwarded.For", "X_Stoa.Tenant", "x-stoa~tenant", "CLIENT_IP"),
    )
]


def test_headers_that_a_client_made_up_are_replaced_by_ours(front: Front) -> None:
    front.edge.apply([EdgeRoute("acme.localhost", front.shop("acme").value("acme"), 1, 1)])
    answer = front.get(
        "acme.localhost",
        "/",
        "X-Forwarded-For: 6.6.6.6",
        "x-forwarded-proto: gopher",
        "X_Forwarded_For: 6.6.6.6",
        "X-Forwarded-Server: evil",
        "Forwarded: for=6.6.6.6",
        "X-Stoa-Tenant: other",
        "X-STOA-Anything: other",
        "X-Real-IP: 6.6.6.6",
        *_CLAIMS,
        "Connection: X-Forwarded-For, X-Stoa-Tenant",
        "X-Kept: yes",
    )
    headers = answer.json()["headers"]
    assert isinstance(headers, list)
    told = sorted((k, v) for k, v in headers if k != "host")
    assert told == [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "acme.localhost"),
        ("x-forwarded-proto", "http"),
        ("x-kept", "yes"),
        ("x-stoa-tenant", "acme"),
    ]


def test_no_tunnel_leads_through_the_edge(front: Front) -> None:
    shop, web = front.shop("acme"), front.shop("web", port=front.config.port_base + 2)
    front.edge.apply([EdgeRoute("acme.localhost", shop.value("acme"), 1, 1)])
    for host in ("acme.localhost", "console.test"):
        request = f"CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\nConnection: close\r\n\r\n"
        answer = exchange(front.config.http_port, request.encode())
        assert (answer.status, 'lang="ja"' in answer.body.decode()) == (405, True)
    assert shop.served == web.served == 0


def test_the_console_gets_its_pages_and_internal_addresses_stay_hidden(front: Front) -> None:
    base = front.config.port_base
    front.shop("web", port=base + 2)
    front.shop("events", port=base + 3)
    assert front.get("console.test", "/signup/").json()["shop"] == "web"
    assert front.get("console.test", "/api/v1/tenants").json()["shop"] == "web"
    assert front.get("console.test", "/events/operations/1").json()["shop"] == "events"
    for path in ("/internal/v1/x", "/internal", "//internal/x", "/%69nternal/v1/x", "/INTERNAL/x"):
        assert front.get("console.test", path).status == 404, path
    assert front.get("console.test", "/internals/").json()["shop"] == "web"


def test_a_console_that_is_away_says_so_to_people_and_to_programs(front: Front) -> None:
    page = front.get("console.test", "/")
    problem = front.get("console.test", "/api/v1/tenants")
    assert page.status == problem.status == 503
    assert "まもなく再開します" in page.body.decode()
    assert problem.json()["status"] == 503


def test_a_shop_that_does_not_listen_is_said_to_be_starting(front: Front) -> None:
    shop = front.shop("acme")
    shop.close()
    front.shops.clear()
    front.edge.apply([EdgeRoute("acme.localhost", shop.value("acme"), 1, 1)])
    answer = front.get("acme.localhost")
    assert answer.status == 503
    assert "ショップを準備しています" in answer.body.decode()


def test_a_sleeping_shop_has_a_page_of_its_own(front: Front) -> None:
    front.edge.apply([EdgeRoute("acme.localhost", "acme@asleep", 1, 1)])
    answer = front.get("acme.localhost")
    assert answer.status == 503
    assert "This shop is asleep" in answer.body.decode()


def test_one_tenant_cannot_take_more_than_its_share_of_connections(
    make_front: Callable[..., Front],
) -> None:
    front = make_front(STOA_EDGE_TENANT_CONNECTIONS="5")
    front.start()
    slow, other = front.shop("acme", delay_seconds=1.0), front.shop("b")
    front.edge.apply(
        [
            EdgeRoute("acme.localhost", slow.value("acme"), 1, 1),
            EdgeRoute("b.localhost", other.value("b"), 1, 2),
        ]
    )
    answers = at_once(12, lambda: front.get("acme.localhost"))
    assert sorted(a.status for a in answers) == [200] * 5 + [429] * 7
    assert front.get("b.localhost").status == 200


def test_a_withdrawn_route_is_gone_when_apply_returns(front: Front) -> None:
    shop = front.shop("acme")
    for round_ in range(20):
        front.edge.apply(
            [EdgeRoute("acme.localhost", shop.value("acme"), 2 * round_ + 1, 2 * round_ + 1)]
        )
        assert front.get("acme.localhost").status == 200
        front.edge.apply([EdgeRoute("acme.localhost", "", 2 * round_ + 2, 2 * round_ + 2)])
        assert front.get("acme.localhost").status == 404


def test_a_client_that_sends_its_head_too_slowly_is_let_go(front: Front) -> None:
    began = time.monotonic()
    answer = exchange(front.config.http_port, b"GET / HTTP/1.1\r\nHost: acm", timeout=15)
    assert answer.status == 408
    assert time.monotonic() - began < 12


def at_once(count: int, ask: Callable[[], Answer]) -> list[Answer]:
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(ask())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_a_held_request_with_its_whole_body_arrives_once_the_route_is_there(front: Front) -> None:
    shop = front.shop("acme")
    front.edge.apply([EdgeRoute("acme.localhost", "acme@hold", 1, 1)])
    answers: list[Answer] = []
    body = b"x" * 200_000
    thread = threading.Thread(
        target=lambda: answers.append(front.get("acme.localhost", "/buy", body=body))
    )
    thread.start()
    wait_for(lambda: front.hold.held == 1)
    assert shop.served == 0
    front.edge.apply([EdgeRoute("acme.localhost", shop.value("acme"), 2, 2)])
    thread.join(5)
    assert [a.status for a in answers] == [200]
    assert answers[0].json()["bytes"] == 200_000
    assert front.hold.held == 0


def test_no_more_requests_of_a_tenant_are_held_than_told_and_the_rest_may_come_again(
    make_front: Callable[..., Front],
) -> None:
    front = make_front(STOA_EDGE_HELD_PER_TENANT="20")
    front.start()
    shop = front.shop("acme")
    front.edge.apply([EdgeRoute("acme.localhost", "acme@hold", 1, 1)])

    def release() -> None:
        wait_for(lambda: front.hold.held == 20)
        time.sleep(0.5)
        front.edge.apply([EdgeRoute("acme.localhost", shop.value("acme"), 2, 2)])

    releaser = threading.Thread(target=release)
    releaser.start()
    answers = at_once(30, lambda: front.get("acme.localhost"))
    releaser.join()
    assert sorted(a.status for a in answers) == [200] * 20 + [503] * 10
    refused = next(a for a in answers if a.status == 503)
    assert "retry-after: 5" in refused.head.lower()


def test_who_is_held_for_too_long_is_told_that_the_shop_comes_back_and_asks_again(
    front: Front,
) -> None:
    front.hold._config = dataclasses.replace(front.config, hold_seconds=0.2)
    front.edge.apply([EdgeRoute("acme.localhost", "acme@hold", 1, 1)])
    page = front.get("acme.localhost", "/", "Accept: text/html,application/xhtml+xml,*/*;q=0.8")
    assert page.status == 503
    assert {
        "retry-after: 5",
        "cache-control: no-store",
        "content-type: text/html; charset=utf-8",
    } <= (set(page.head.lower().split("\r\n")))
    told = page.body.decode()
    assert '<meta http-equiv="refresh" content="5">' in told
    assert "where much data has to be put in place first, in some minutes" in told
    assert "大量のデータを準備している場合は" in told
    for asked in ("application/json", "application/problem+json, application/json;q=0.9"):
        problem = front.get("acme.localhost", "/orders", f"Accept: {asked}", body=b"{}")
        assert problem.status == problem.json()["status"] == 503
        assert {"retry-after: 5", "content-type: application/problem+json"} <= (
            set(problem.head.lower().split("\r\n"))
        )
        assert "in some minutes" in str(problem.json()["detail"])
    # Once more, and the shop is back: the page asked for the same address.
    front.edge.apply([EdgeRoute("acme.localhost", front.shop("acme").value("acme"), 2, 2)])
    assert front.get("acme.localhost").json()["shop"] == "acme"


def test_what_the_edge_says_for_a_shop_it_says_to_programs_as_a_problem(front: Front) -> None:
    front.edge.apply([EdgeRoute("b.localhost", "b@asleep", 1, 1)])
    for host, status in (("nobody.localhost", 404), ("b.localhost", 503)):
        answer = front.get(host, "/", "Accept: application/json")
        assert answer.status == answer.json()["status"] == status
        assert front.get(host).body.startswith(b"<!doctype html>")
        both = front.get(host, "/", "Accept: text/html, application/json;q=0.5")
        assert both.body.startswith(b"<!doctype html>")


@pytest.mark.long
@pytest.mark.slow
def test_a_request_is_held_for_fifteen_seconds_and_no_longer(front: Front) -> None:
    front.edge.apply([EdgeRoute("acme.localhost", "acme@hold", 1, 1)])
    began = time.monotonic()
    answer = front.get("acme.localhost")
    took = time.monotonic() - began
    assert answer.status == 503
    assert 14.5 < took < 25
    assert "ショップを準備しています" in answer.body.decode()


def test_a_hold_without_the_service_ends_in_a_page(front: Front) -> None:
    front.hold.stop()
    front.config = dataclasses.replace(front.config, hold_seconds=2.0)
    front.edge = HaproxyEdge(front.config)
    front.edge.renew_proxy()
    front.edge.apply([EdgeRoute("acme.localhost", "acme@hold", 1, 1)])
    assert front.get("acme.localhost").status == 503


def test_a_request_held_in_an_old_worker_is_released_after_a_reload(front: Front) -> None:
    shop = front.shop("acme")
    front.edge.apply([EdgeRoute("acme.localhost", "acme@hold", 1, 1)])
    front.edge.save()
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(front.get("acme.localhost")))
    thread.start()
    wait_for(lambda: front.hold.held == 1)
    front.reload()
    front.edge.apply([EdgeRoute("acme.localhost", shop.value("acme"), 2, 2)])
    thread.join(5)
    assert [a.status for a in answers] == [200]
    assert front.get("acme.localhost").status == 200
