"""A real host agent on a real Redis: its rights, its boot, and Redis lost under it."""

import json
import time
from pathlib import Path

import pytest
import redis

from runtime.errors import StaleFenceError
from runtime.statuses import ContainerState, InstanceStatus
from runtime.wire import from_wire, to_wire
from tests.runtime.edge.conftest import wait_for
from tests.workers.agents.conftest import Site
from tests.workers.agents.test_calls import INSTANCE, SPEC
from workers.broker.queues import broker_acl, edge_queue, host_queue, new_task_id

QUEUE = "host.local"


def test_a_call_runs_and_its_answer_comes_back(host: Site) -> None:
    value = host.ask(QUEUE, "ensure_running", {"spec": to_wire(SPEC)}, fence=(1, 2))
    assert from_wire(InstanceStatus, value).state is ContainerState.RUNNING
    with pytest.raises(StaleFenceError):
        host.ask(QUEUE, "ensure_running", {"spec": to_wire(SPEC)}, fence=(1, 1))


def test_an_agent_needs_no_right_it_does_not_have(host: Site) -> None:
    host.ask(QUEUE, "list")
    time.sleep(2.5)  # a report, and kombu's look for unacknowledged calls
    with host.broker.client() as client:
        assert client.execute_command("ACL", "LOG") == []


def test_an_agent_cannot_touch_what_is_not_its_own(host: Site) -> None:
    host.broker.admit("host.other")
    with redis.Redis.from_url(f"redis://host.local:p@127.0.0.1:{host.broker.port}/0") as agent:
        forbidden = [
            ("LPUSH", "control", "x"),
            ("BRPOP", "control", 1),
            ("BRPOP", "host.other", 1),
            ("LPUSH", "host.other", "x"),
            ("HGET", "unacked", "x"),
            ("HGET", "unacked.host.other", "x"),
            ("GET", "celery-task-meta-host.other.1"),
            ("SET", "celery-task-meta-host.other.1", "forged"),
            ("PUBLISH", "celery-task-meta-host.other.1", "forged"),
            ("PUBLISH", "celery-task-meta-1", "forged"),
            ("SET", "report.host.other", "forged"),
            ("GET", "report.host.other"),
            ("KEYS", "*"),
            ("SCAN", "0"),
            ("FLUSHALL",),
            ("CONFIG", "GET", "*"),
            ("ACL", "LIST"),
            ("SUBSCRIBE", "celery-task-meta-host.local.1"),
            ("EVAL", "return 1", "0"),
            ("EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "0"),
            ("EVAL_RO", "return 1", "0"),
            ("SCRIPT", "LOAD", "return 1"),
            ("FCALL", "f", "0"),
            ("FUNCTION", "LOAD", "x"),
            ("CLIENT", "LIST"),
        ]
        for command in forbidden:
            with pytest.raises(redis.exceptions.NoPermissionError):
                agent.execute_command(*command)


def test_calls_left_from_before_a_start_are_forgotten(site: Site) -> None:
    site.broker.admit(QUEUE)
    with site.broker.client() as client:
        client.lpush(QUEUE, "an old call")
        client.hset("unacked.host.local", "tag", json.dumps([{}, "", QUEUE]))
        client.zadd("unacked_index.host.local", {"tag": 1.0})
    program = site.agent("host")
    with site.broker.client() as client:
        assert client.llen(QUEUE) == 0
        assert client.exists("unacked.host.local", "unacked_index.host.local") == 0
    assert "3 old keys" in program.text()
    site.ask(QUEUE, "list")


def test_a_call_is_not_run_again_after_the_agent_was_killed(site: Site) -> None:
    first = site.agent("host")
    site.ask(QUEUE, "ensure_running", {"spec": to_wire(SPEC)}, fence=(1, 1))
    boot_id = site.boot_id(QUEUE)
    first.kill()
    site.agent("host")
    assert site.boot_id(QUEUE) != boot_id
    assert site.ask(QUEUE, "list") == []  # the fake host forgot, and no old call filled it again


def test_only_one_agent_may_use_a_state_directory(host: Site) -> None:
    second = host.run(
        "-c",
        "from pathlib import Path; from workers.agents.common import boot;"
        f"boot.lock_state(Path({host.environ['STOA_HOST_STATE']!r}), seconds=0.3)",
        name="second",
    )
    assert second.process.wait(20) == 1
    assert "another agent holds" in second.text()


def test_an_agent_that_ends_takes_its_report_back(site: Site) -> None:
    program = site.agent("host")
    assert program.end() == 0
    assert site.broker.report(QUEUE) is None


def test_the_report_says_what_the_host_holds_and_offers(host: Site) -> None:
    host.ask(QUEUE, "ensure_running", {"spec": to_wire(SPEC)}, fence=(1, 1))
    before = host.broker.report(QUEUE)
    wait_for(lambda: bool((host.broker.report(QUEUE) or {}).get("inventory")))
    report = host.broker.report(QUEUE)
    assert before
    assert report
    assert list(report)[:3] == ["v", "boot_id", "seq"]
    assert report["digest"] != before["digest"] or before["inventory"]
    inventory = report["inventory"]
    assert isinstance(inventory, list)
    (held,) = inventory
    assert held["instance_id"] == INSTANCE
    assert "timings_ms" not in held
    assert isinstance(report["conditions"], list)
    for part in ("capacity", "usage"):
        amounts = report[part]
        assert isinstance(amounts, dict)
        assert set(amounts) == {"cpu_millis", "memory_bytes", "disk_bytes"}
        assert amounts["memory_bytes"] > 0
    began_ms = report["began_ms"]
    assert isinstance(began_ms, int)
    with host.broker.client() as client:
        assert 20 < client.ttl("report.host.local") <= 30
        assert 0 <= client.time()[0] * 1000 + 999 - began_ms < 30_000


def test_the_digest_stays_while_only_ages_change(host: Site) -> None:
    host.ask(QUEUE, "ensure_running", {"spec": to_wire(SPEC)}, fence=(1, 1))
    wait_for(lambda: bool((host.broker.report(QUEUE) or {}).get("inventory")))
    first = host.broker.report(QUEUE)
    assert first
    wait_for(lambda: (host.broker.report(QUEUE) or {}).get("seq") != first["seq"])
    second = host.broker.report(QUEUE)
    assert second
    assert second["digest"] == first["digest"]


@pytest.mark.slow
def test_after_redis_was_killed_and_restarted_the_next_call_is_answered(host: Site) -> None:
    host.ask(QUEUE, "ensure_running", {"spec": to_wire(SPEC)}, fence=(1, 1))
    boot_id = host.boot_id(QUEUE)
    host.broker.kill()
    time.sleep(5)
    host.broker.start()  # without the agents' users: they vanish with it
    time.sleep(2)
    host.broker.admit(QUEUE)
    began = time.monotonic()
    wait_for(lambda: host.boot_id(QUEUE) == boot_id, seconds=10)
    assert host.inventory() == [INSTANCE]
    print(f"\nanswered {time.monotonic() - began:.1f} s after the rights were there again")


def test_after_redis_was_flushed_the_next_call_is_answered(host: Site) -> None:
    with host.broker.client() as client:
        client.flushall()
    wait_for(lambda: host.boot_id(QUEUE) is not None)
    assert host.ask(QUEUE, "list", run_limit=10) == []


def test_an_agent_that_starts_before_redis_waits_for_it(site: Site) -> None:
    url = site.broker.admit(QUEUE)
    site.broker.kill()
    program = site.run("-m", "workers.agents", "host", name="host", STOA_BROKER_URL=url)
    wait_for(lambda: "waiting for the broker" in program.text())
    site.broker.start()
    site.broker.admit(QUEUE)
    site.until(lambda: site.boot_id(QUEUE) is not None, program)
    assert site.ask(QUEUE, "list") == []


def test_every_key_an_agent_uses_carries_its_name(site: Site) -> None:
    site.agent("host")
    with site.broker.client() as client:
        keys = {key.decode() for key in client.keys("*")}
    bindings = {"_kombu.binding.host.local", "_kombu.binding_permanent.host.local"}
    assert keys <= bindings | {"report.host.local"}


def test_an_agent_is_small(host: Site) -> None:
    for _ in range(50):
        host.ask(QUEUE, "list")
    status = Path(f"/proc/{host.programs[0].process.pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    print(f"\nhost agent: {rss / 1024:.1f} MiB")
    assert rss < 55_000


def test_names_of_queues_and_rights_refuse_what_could_widen_them() -> None:
    assert host_queue("local") == "host.local"
    assert edge_queue("e-1") == "edge.e-1"
    assert new_task_id("host.local").startswith("host.local.")
    for queue in ("control", "host.", "host.*", "host.a b", "host.a.b", "celery"):
        with pytest.raises(Exception, match=r"queue|host"):
            broker_acl(queue, "0" * 64)
    with pytest.raises(ValueError, match="64 hexadecimal"):
        broker_acl("host.local", "secret")


def test_a_broker_started_anew_knows_no_agent(site: Site) -> None:
    url = site.broker.admit(QUEUE)
    site.broker.kill()
    site.broker.start()
    with redis.Redis.from_url(url) as agent, pytest.raises(redis.AuthenticationError):
        agent.ping()


def test_an_agent_imports_no_django_even_when_the_environment_names_its_settings(
    host: Site,
) -> None:
    maps = Path(f"/proc/{host.programs[0].process.pid}/maps").read_text()
    assert "psycopg2" not in maps
    program = host.run(
        "-c",
        "import sys, workers.agents.edge.main, workers.agents.host.main, celery.apps.worker;"
        "print(sorted(m for m in sys.modules if m.startswith(('django.', 'tenants', 'prompt_'))))",
        name="imports",
        STOA_BROKER_URL="redis://127.0.0.1:1/0",
        DJANGO_SETTINGS_MODULE="controlplane.settings.test",
    )
    assert program.process.wait(30) == 0
    loaded = program.text().strip()
    # kombu looks at Django's lazy strings to write them as JSON; settings, apps and database stay away.
    assert not any(part in loaded for part in ("django.db", "django.apps", "tenants", "prompt_"))
