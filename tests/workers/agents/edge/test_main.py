"""A real edge: agent, HAProxy and Redis, with a control plane that comes and goes."""

import threading
import time
from pathlib import Path

import pytest

from runtime.edge.haproxy_socket import HaproxySocket
from runtime.edge.routes import EdgeRoute, digest
from runtime.errors import HostError, SpecInvalidError
from runtime.wire import JsonValue
from tests.runtime.edge.conftest import Answer, Shop, get, wait_for
from tests.workers.agents.conftest import Control, Program, Site
from workers.agents.common.control_http import parse

QUEUE = "edge.local"


def start(site: Site) -> tuple[Control, Program, Program]:
    control = site.control()
    agent, proxy = site.agent("edge"), site.haproxy()
    site.until(lambda: ready(site), agent)
    return control, agent, proxy


def ready(site: Site) -> bool:
    return bool((site.broker.report(QUEUE) or {}).get("ready"))


def ask_page(site: Site, host: str) -> Answer:
    return get(site.base + 6, host)


def apply(site: Site, *routes: EdgeRoute) -> JsonValue:
    wire: list[JsonValue] = [
        {"hostname": r.hostname, "value": r.value, "version": r.version, "sequence": r.sequence}
        for r in routes
    ]
    return site.ask(QUEUE, "apply", {"routes": wire}, run_limit=5)


def route(shop: Shop, name: str, *, version: int = 1, sequence: int = 1) -> EdgeRoute:
    return EdgeRoute(f"{name}.localhost", shop.value(name), version, sequence)


def test_a_route_sent_to_an_edge_is_served_when_the_call_returns(site: Site) -> None:
    start(site)
    shop = site.shop("acme")
    taken = []
    for n in range(1, 31):
        began = time.perf_counter()
        answer = apply(site, route(shop, f"s{n}", sequence=n))
        assert ask_page(site, f"s{n}.localhost").status == 200
        taken.append((time.perf_counter() - began) * 1000)
        assert answer == {"sequence": n, "applied": n}
    print(f"\napply to served: p50 {sorted(taken)[15]:.1f} ms")
    assert apply(site, EdgeRoute("s1.localhost", "", 2, 31)) == {"sequence": 31, "applied": 31}
    assert ask_page(site, "s1.localhost").status == 404


def test_an_edge_needs_no_right_it_does_not_have(site: Site) -> None:
    start(site)
    apply(site, route(site.shop("acme"), "acme"))
    time.sleep(2.2)
    with site.broker.client() as client:
        assert client.execute_command("ACL", "LOG") == []


def test_bad_routes_are_refused_with_the_field(site: Site) -> None:
    start(site)
    for bad in (
        EdgeRoute("a.localhost", "a@8.8.8.8:20000", 1, 1),
        EdgeRoute("A.localhost", "", 1, 1),
    ):
        with pytest.raises(SpecInvalidError):
            apply(site, bad)
    with pytest.raises(SpecInvalidError):
        site.ask(QUEUE, "apply", {"routes": [{"hostname": "a.localhost"}]})
    with pytest.raises(SpecInvalidError):
        site.ask(QUEUE, "digest", {"more": 1})


def test_an_edge_that_starts_fetches_the_table_and_reports_it(site: Site) -> None:
    control = site.control()
    shop = site.shop("acme")
    control.routes, control.sequence = [route(shop, "acme"), route(shop, "b")], 7
    program = site.agent("edge")
    site.haproxy()
    site.until(lambda: ready(site), program)
    report = site.broker.report(QUEUE)
    assert report
    assert (report["applied"], report["count"]) == (7, 2)
    assert report["digest"] == digest(control.routes)
    assert site.ask(QUEUE, "digest") == {
        "sequence": 7,
        "digest": digest(control.routes),
        "count": 2,
    }
    assert ask_page(site, "acme.localhost").status == 200


def test_a_missed_change_is_fetched_within_seconds(site: Site) -> None:
    control, agent, _ = start(site)
    shop = site.shop("acme")
    control.routes, control.sequence = [route(shop, "missed"), route(shop, "seen")], 2
    assert apply(site, route(shop, "seen", sequence=2)) == {"sequence": 2, "applied": 0}
    assert ask_page(site, "missed.localhost").status == 404
    site.until(lambda: ask_page(site, "missed.localhost").status == 200, agent, seconds=6)
    told = site.ask(QUEUE, "digest")
    assert isinstance(told, dict)
    assert told["sequence"] == 2


def test_resync_brings_the_record_back_whatever_the_edge_held(site: Site) -> None:
    control, _, _ = start(site)
    shop = site.shop("acme")
    apply(site, route(shop, "stranger", version=9))
    control.routes, control.sequence = [route(shop, "acme")], 1
    told = site.ask(QUEUE, "resync")
    assert isinstance(told, dict)
    assert told["count"] == 1
    assert ask_page(site, "stranger.localhost").status == 404
    assert ask_page(site, "acme.localhost").status == 200


@pytest.mark.slow
def test_a_killed_haproxy_comes_back_with_every_route(site: Site) -> None:
    control, agent, proxy = start(site)
    shop = site.shop("acme")
    apply(site, route(shop, "acme"))
    control.close()
    site.closing.remove(control.close)
    worker = HaproxySocket(site.edge_config.socket_path).process_id()
    proxy.kill()
    wait_for(lambda: not alive(worker))  # the worker follows its master
    again = site.haproxy(wait=False)
    site.until(lambda: ask_page(site, "acme.localhost").status == 200, again, seconds=15)
    site.until(lambda: ready(site), agent)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_killed_edge_agent_comes_back_and_haproxy_serves_meanwhile(site: Site) -> None:
    control, agent, _ = start(site)
    shop = site.shop("acme")
    apply(site, route(shop, "acme"))
    agent.kill()
    assert ask_page(site, "acme.localhost").status == 200
    control.routes, control.sequence = [route(shop, "acme"), route(shop, "b", sequence=2)], 2
    second = site.agent("edge")
    site.until(lambda: ask_page(site, "b.localhost").status == 200, second)
    assert ask_page(site, "acme.localhost").status == 200


@pytest.mark.slow
def test_without_control_plane_an_edge_starts_with_what_it_kept(site: Site) -> None:
    control, agent, proxy = start(site)
    shop = site.shop("acme")
    apply(site, route(shop, "acme"))
    agent.kill()  # before anything but the journal was written
    proxy.end()
    control.close()
    site.closing.remove(control.close)
    began = time.monotonic()
    again = site.haproxy(wait=False)
    site.until(lambda: ask_page(site, "acme.localhost").status == 200, again)
    assert time.monotonic() - began < 10
    assert "kept on disk" in again.text()
    program = site.agent("edge")
    time.sleep(3)
    assert ask_page(site, "acme.localhost").status == 200
    report = site.broker.report(QUEUE)
    assert report
    assert report["ready"] is False, "an edge that never reached the record is not ready"
    assert "does not answer" in program.text()


def test_the_public_port_stays_closed_until_a_table_is_there(site: Site) -> None:
    program = site.haproxy(wait=False)
    wait_for(lambda: "waiting for the control plane" in program.text())
    time.sleep(1)
    with pytest.raises(ConnectionRefusedError):
        ask_page(site, "acme.localhost")
    control = site.control()
    site.until(lambda: ask_page(site, "acme.localhost").status == 404, program)
    assert control.asked == 1


def test_a_wrong_token_is_named_in_the_log(site: Site) -> None:
    site.control()
    (site.home / "token").write_text("stolen")
    program = site.haproxy(wait=False)
    wait_for(lambda: "answered 401; is the token" in program.text())


def test_a_held_request_waits_for_the_route_and_is_then_served(site: Site) -> None:
    start(site)
    shop = site.shop("acme")
    apply(site, EdgeRoute("acme.localhost", "acme@hold", 1, 1))
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(ask_page(site, "acme.localhost")))
    thread.start()
    time.sleep(0.5)
    assert not answers
    apply(site, route(shop, "acme", version=2, sequence=2))
    thread.join(5)
    assert [a.status for a in answers] == [200]


def test_after_redis_was_killed_an_edge_takes_calls_again(site: Site) -> None:
    start(site)
    shop = site.shop("acme")
    site.broker.kill()
    site.broker.start()
    site.broker.admit(QUEUE)
    wait_for(lambda: site.broker.report(QUEUE) is not None, seconds=10)
    apply(site, route(shop, "acme"))
    assert ask_page(site, "acme.localhost").status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"sequence": "1", "digest": "", "routes": []}',
        b'{"sequence": 1, "digest": "", "routes": [["a"]]}',
    ],
)
def test_a_table_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(HostError, match="cannot be read"):
        parse(body)
