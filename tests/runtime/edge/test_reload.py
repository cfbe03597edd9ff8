"""Other configuration reaches a running HAProxy by a reload: no visit is refused, nothing is forgotten."""

import dataclasses
import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from runtime.edge import haproxy_cfg, install, pages
from runtime.edge.edge import HaproxyEdge
from runtime.edge.hold import HoldService
from runtime.edge.routes import EdgeRoute
from runtime.errors import RuntimeCoreError
from tests.runtime.edge.conftest import Front, free_port_base, get, wait_for


def _changed(front: Front, **changes: object) -> HaproxyEdge:
    """The edge agent as it starts again with other settings."""
    front.edge.save()
    front.config = dataclasses.replace(front.config, **changes)  # type: ignore[arg-type]
    front.edge = HaproxyEdge(front.config, on_change=front.hold.changed)
    return front.edge


class Visitors:
    """Threads that ask for one page without pause: kept connections, and a new one for each visit."""

    def __init__(self, port: int, host: str) -> None:
        self._port, self._host = port, host
        self.answers: Counter[str] = Counter()
        self._over = threading.Event()
        kinds = (True, True, False, False)
        self._threads = [threading.Thread(target=self._visit, args=(kind,)) for kind in kinds]

    def __enter__(self) -> "Visitors":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, keeps: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        while not self._over.is_set():
            try:
                connection.request("GET", "/", headers={"Host": self._host})
                answer = connection.getresponse()
                answer.read()
                self.answers[str(answer.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[repr(error)] += 1
                connection.close()
            if not keeps:
                connection.close()
            time.sleep(0.005)
        connection.close()


def test_no_visit_fails_while_the_configuration_changes_again_and_again(front: Front) -> None:
    shop = front.shop("a")
    front.edge.apply([EdgeRoute("a.test", shop.value("a"), 1, 1)])
    with Visitors(front.config.http_port, "a.test") as visitors:
        for held in (11, 12, 13):
            worker = front.edge._proxy.process_id()
            edge = _changed(front, tenant_connections=held)
            edge.renew_proxy()
            assert edge._proxy.process_id() != worker
            wait_for(lambda: len(front.edge._proxy.old_workers()) < 3, seconds=30)
    assert set(visitors.answers) == {"200"}
    assert visitors.answers["200"] > 30


def test_the_same_configuration_is_left_alone(front: Front) -> None:
    worker = front.edge._proxy.process_id()
    _changed(front).renew_proxy()
    assert front.edge._proxy.process_id() == worker


@pytest.mark.parametrize("part", ["page", "lua", "configuration"])
def test_whatever_haproxy_reads_brings_a_reload(
    front: Front, part: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    assert install.is_loaded(front.config)
    if part == "page":
        files = pages.files(front.config)
        name = next(iter(files))
        monkeypatch.setattr(pages, "files", lambda _: files | {name: files[name] * 2})
    elif part == "lua":
        found = haproxy_cfg.HOLD_LUA
        before = found.read_bytes
        monkeypatch.setattr(type(found), "read_bytes", lambda path: before() + str(path).encode())
    else:
        front.config = dataclasses.replace(front.config, hold_seconds=3.0)
    assert not install.is_loaded(front.config)


def test_a_new_worker_begins_with_every_route_that_was_taken_in(front: Front) -> None:
    first, second = front.shop("a"), front.shop("b")
    front.edge.apply([EdgeRoute("a.test", first.value("a"), 1, 1)])
    front.edge.apply([EdgeRoute("b.test", second.value("b"), 1, 2)])
    _changed(front, tenant_connections=17).renew_proxy()
    for name in ("a", "b"):
        assert front.get(f"{name}.test").json()["shop"] == name
    front.edge.apply([EdgeRoute("b.test", first.value("b"), 2, 3)])
    assert front.get("b.test").json()["shop"] == "a"


def test_a_configuration_that_haproxy_refuses_leaves_it_as_it_is(front: Front) -> None:
    shop = front.shop("a")
    front.edge.apply([EdgeRoute("a.test", shop.value("a"), 1, 1)])
    worker = front.edge._proxy.process_id()
    edge = _changed(front, user="nobody-by-this-name")
    with pytest.raises(RuntimeCoreError, match="nobody-by-this-name"):
        edge.renew_proxy()
    assert edge._proxy.process_id() == worker
    assert front.get("a.test").status == 200


def test_another_public_port_is_taken_over_without_a_restart(front: Front) -> None:
    shop = front.shop("a")
    front.edge.apply([EdgeRoute("a.test", shop.value("a"), 1, 1)])
    assert front.process
    old_port, master = front.config.http_port, front.process.pid
    _changed(front, http_port=free_port_base() + 7).renew_proxy()
    assert front.get("a.test").status == 200
    assert front.process.pid == master
    with pytest.raises(ConnectionRefusedError):
        get(old_port, "a.test")


def test_requests_of_the_old_worker_still_count_as_in_flight(
    make_front: Callable[..., Front],
) -> None:
    front = make_front()
    front.start()
    shop = front.shop("slow", delay_seconds=2.0)
    value = shop.value("a")
    front.edge.apply([EdgeRoute("a.test", value, 1, 1)])
    answers: list[int] = []
    slow = threading.Thread(target=lambda: answers.append(front.get("a.test").status))
    slow.start()
    wait_for(lambda: front.edge.in_flight([value]) == {value: 1})
    edge = _changed(front, tenant_connections=19)
    edge.renew_proxy()
    assert edge.in_flight([value]) == {value: 1}
    slow.join()
    assert answers == [200]
    wait_for(lambda: edge.in_flight([value]) == {value: 0})


def test_a_held_request_outlives_the_agent_and_a_reload(front: Front) -> None:
    shop = front.shop("a")
    front.edge.apply([EdgeRoute("a.test", "a@hold", 1, 1)])
    answers: list[int] = []
    held = threading.Thread(target=lambda: answers.append(front.get("a.test").status))
    held.start()
    wait_for(lambda: front.hold.held == 1)
    front.hold.stop()  # the agent ends
    front.hold = HoldService(front.config, lookup=front.lookup)
    edge = _changed(front, tenant_connections=23)
    time.sleep(0.3)
    front.hold.start()
    edge.renew_proxy()
    wait_for(lambda: front.hold.held == 1)
    edge.apply([EdgeRoute("a.test", shop.value("a"), 2, 2)])
    held.join()
    assert answers == [200]
