"""bin/up after an update, or with other settings: visitors notice nothing, shops run on, and what cannot be
taken over is refused in words before anything is touched.
"""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.stoa import Stack

pytestmark = [pytest.mark.stack, pytest.mark.slow]
ALL = (
    *("images", "tables", "static", "record", "keeper", "depot", "web", "events", "host-agent"),
    *("edge-agent", "control", "sweep", "beat"),
)


class Visits:
    """What visitors of shop, console and API were answered, kept connections and new ones, and sign-ups."""

    def __init__(self, stack: Stack, slug: str) -> None:
        self._stack, self._over = stack, threading.Event()
        self.answers: Counter[str] = Counter()
        self.signed_up: list[str] = []
        shop, console = f"{slug}.localhost:{stack.port}", f"localhost:{stack.port}"
        kinds = [(host, keeps) for host in (shop, console) for keeps in (True, False)]
        self.threads = [threading.Thread(target=self._visit, args=kind) for kind in kinds]
        self.threads.append(threading.Thread(target=self._sign_up))

    def _visit(self, host: str, keeps: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._stack.port, timeout=60)
        while not self._over.wait(0.1):
            self._count(
                f"{host.partition('.localhost')[0]}", connection, "GET", "/", {"Host": host}
            )
            if not keeps:
                connection.close()
        connection.close()

    def _sign_up(self) -> None:
        token = (self._stack.var / "operator-token").read_text().strip()
        heads = {
            "Host": f"localhost:{self._stack.port}",
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
        }
        while not self._over.wait(4):
            slug = f"late{len(self.signed_up)}-{time.monotonic_ns() % 100_000}"
            body = {"slug": slug, "shop_name": "Late", "email": f"{slug}@example.org"}
            connection = http.client.HTTPConnection("127.0.0.1", self._stack.port, timeout=60)
            self._count("sign-up", connection, "POST", "/api/v1/tenants", heads, json.dumps(body))
            connection.close()
            self.signed_up.append(slug)
            if len(self.signed_up) >= 6:
                return

    def _count(
        self,
        what: str,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: dict[str, str],
        body: str | None = None,
    ) -> None:
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            self.answers[f"{what} {answer.status}"] += 1
        except (OSError, http.client.HTTPException) as error:
            self.answers[f"{what} {error!r}"] += 1
            connection.close()

    @property
    def failed(self) -> dict[str, int]:
        return {told: n for told, n in self.answers.items() if told[-3:] not in {"200", "202"}}

    def end(self) -> None:
        self._over.set()
        for thread in self.threads:
            thread.join()


@contextmanager
def visits(stack: Stack, slug: str) -> Iterator[Visits]:
    made = Visits(stack, slug)
    for thread in made.threads:
        thread.start()
    try:
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def shop(stack: Stack) -> str:
    operation = stack.wait(stack.sign_up("steady")["operation"]["id"], seconds=120)
    assert operation["state"] == "succeeded", operation
    return "steady"


def _code_changed(stack: Stack) -> None:
    """As after an update of every file: nothing that runs is made from what is there."""
    for name in ALL:
        (stack.var / "run/made" / name).unlink()
    (stack.var / "edge/loaded").unlink()


@pytest.mark.long
def test_an_update_of_everything_is_noticed_by_nobody(stack: Stack, shop: str) -> None:
    kept = stack.pids("postgres", "redis", "keeper", "haproxy", "web")
    others = stack.pids("control", "sweep", "host-agent", "edge-agent")
    with visits(stack, shop) as seen:
        _code_changed(stack)
        done = stack.up()
    assert done.returncode == 0, done.stdout + done.stderr
    assert seen.failed == {}
    assert seen.answers["sign-up 202"] > 0
    assert stack.pids(*kept) == kept
    assert not stack.pids(*others).items() & others.items()


# In the order of an update of everything.
STEPS = (
    *("other settings or code", "bringing the tables up to date", "collecting static files"),
    *("writing plans", "bringing depot up", "bringing web up", "bringing edge-agent up"),
    *("bringing control up", "waiting until"),
)


@pytest.mark.long
def test_an_update_that_is_killed_at_any_step_is_taken_up_by_the_next(
    stack: Stack, shop: str
) -> None:
    keeper = stack.pid("keeper")
    _code_changed(stack)
    for step in STEPS:
        with stack.begin_up() as up:
            assert up.stdout
            assert any(step in line for line in up.stdout), f"it never came to {step!r}"
            up.kill()
    done = stack.up()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bringing" not in done.stdout, "the killed ones have done it all"
    assert stack.pid("keeper") == keeper
    assert stack.get(shop).status_code == http.client.OK


@pytest.mark.long
def test_one_that_waited_takes_up_what_the_other_was_given(stack: Stack) -> None:
    with stack.begin_up(STOA_LOG_LEVEL="WARNING") as first:
        assert first.stdout
        assert any("other settings" in line for line in first.stdout)
        second = stack.up()
    assert (first.returncode, second.returncode) == (0, 0), second.stdout + second.stderr
    assert "STOA_LOG_LEVEL=WARNING\n" in (stack.var / "settings").read_text()
    assert "bringing" not in second.stdout


@pytest.mark.long
def test_a_start_that_is_killed_at_any_step_is_taken_up_by_the_next(
    stack: Stack, shop: str
) -> None:
    assert stack.down().returncode == 0
    for step in ("starting the supervisor", "starting every program", "waiting until"):
        with stack.begin_up() as up:
            assert up.stdout
            assert any(step in line for line in up.stdout), f"it never came to {step!r}"
            up.kill()
        if step == "starting every program":
            assert stack.down().returncode == 0
            assert stack.leftovers() == []
    done = stack.up()
    assert done.returncode == 0, done.stdout + done.stderr
    deadline = time.monotonic() + 60
    while stack.get(shop).status_code != http.client.OK:  # the keeper starts shops at its own pace
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.long
def test_other_settings_reach_who_reads_them_and_shops_run_on(stack: Stack, shop: str) -> None:
    others = ("web", "host-agent", "keeper", "haproxy", "postgres", "redis")
    before, agent = stack.pids(*others), stack.pid("edge-agent")
    with visits(stack, shop) as seen:
        done = stack.up(STOA_EDGE_HELD_PER_TENANT="150", STOA_EDGE_TENANT_CONNECTIONS="321")
    assert done.returncode == 0, done.stdout + done.stderr
    assert seen.failed == {}
    assert "321" in (stack.var / "edge/haproxy.cfg").read_text()
    assert stack.pids(*others) == before
    assert stack.pid("edge-agent") != agent


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("STOA_SCOPE", "another", "it cannot change while it runs"),
        ("STOA_PORT_BASE", "19700", "it cannot change while it runs"),
        ("STOA_SUBNET", "100.99.0.0/16", "it cannot change while there are shops"),
        ("STOA_DOMAIN", "example.org", "it cannot change while there are shops"),
        ("STOA_HOST_NAME", "other", "it keeps it for life"),
        ("STOA_PORTS", "11000-32767", "their addresses count from 10000"),
        ("STOA_PROBE_PORT", "12000", "lies inside STOA_PORTS"),
        ("STOA_EDGE_MAXCONN", "many", "it must be a whole number"),
    ],
)
def test_what_cannot_be_taken_over_is_refused_before_anything_is_touched(
    stack: Stack, shop: str, setting: str, value: str, said: str
) -> None:
    settings = (stack.var / "settings").read_text()
    pids = stack.pids(*ALL[4:], "haproxy", "redis")
    done = stack.up(**{setting: value})
    assert done.returncode == 1
    assert said in done.stderr
    assert setting in done.stderr
    assert value in done.stderr
    assert (stack.var / "settings").read_text() == settings
    assert stack.pids(*pids) == pids
    assert stack.get(shop).status_code == http.client.OK


@pytest.mark.long
def test_a_narrower_range_that_holds_all_shops_is_taken_over(stack: Stack, shop: str) -> None:
    done = stack.up(STOA_PORTS="10000-20000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10000:20000" in (stack.var / "edge/haproxy.cfg").read_text()
    operation = stack.wait(stack.sign_up("narrow")["operation"]["id"], seconds=120)
    assert operation["state"] == "succeeded", operation
    assert stack.get(shop).status_code == http.client.OK
