"""One agent that writes all it may to the broker takes nothing from the others."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import redis

from tenants.core.models import Alarm
from tests.workers.conftest import World
from workers.broker import bounds
from workers.broker.bounds import MOST_BYTES, MOST_KEYS, BrokerKey

MIB = 2**20


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client
        client.flushall()


@pytest.mark.parametrize("kind", ["text", "list", "hash", "zset", "answers", "many"])
def test_what_an_agent_has_beyond_its_share_is_deleted_and_told(
    world: World, client: redis.Redis, kind: str
) -> None:
    block = b"x" * (8 * MIB)
    client.set("report.host.local", "{}", ex=30)
    client.lpush("host.other", "a call")
    client.set("readyz", "not an agent's")
    if kind == "text":
        client.set("report.host.local", b"x" * (30 * MIB))
    elif kind == "list":  # small ones first: a sample of it would show nothing
        client.rpush("host.local", *[b"small"] * 100, *[block] * 5)
    elif kind == "hash":
        client.hset("unacked.host.local", mapping={str(n): block for n in range(5)})
    elif kind == "zset":
        client.zadd("unacked_index.host.local", {block + bytes([n]): n for n in range(5)})
    elif kind == "answers":
        for number in range(5):
            client.set(f"celery-task-meta-host.local.{number}", block)
    else:
        for number in range(MOST_KEYS + 10):
            client.set(f"celery-task-meta-host.local.{number}", "x")
    assert bounds.bound_broker() == "1 agents held too much, or strangers"
    assert Alarm.objects.filter(key="broker.host.local", cleared_at=None).exists()
    used = int(client.info("memory")["used_memory"])
    assert used < MOST_BYTES + 20 * MIB
    assert len(client.keys("*host.local*")) <= MOST_KEYS
    assert client.llen("host.other") == 1
    assert client.get("readyz") == b"not an agent's"
    assert bounds.bound_broker() == ""
    assert not Alarm.objects.filter(cleared_at=None).exists()


def test_answers_do_not_stay_for_ever(world: World, client: redis.Redis) -> None:
    client.set("celery-task-meta-host.local.1", "x")
    client.set("broker-generation", "not an agent's")
    bounds.bound_broker()
    assert 0 < client.ttl("celery-task-meta-host.local.1") <= bounds.ANSWER_LIVES_SECONDS
    assert client.ttl("broker-generation") == -1


def test_the_smallest_stay() -> None:
    items = [
        BrokerKey(b"small", 1),
        BrokerKey(b"large", MOST_BYTES),
        BrokerKey(b"larger", 2 * MOST_BYTES),
    ]
    assert [one.key for one in bounds.too_much(items)] == [b"larger", b"large"]
    assert bounds.too_much([BrokerKey(b"small", 1), BrokerKey(b"fits", MOST_BYTES - 1)]) == []


def test_a_crowd_that_has_not_logged_in_is_sent_away(
    world: World, client: redis.Redis, redis_url: str
) -> None:
    before = str(client.config_get("maxclients")["maxclients"])
    place = urlsplit(redis_url)
    # Others of these tests may be connected still: that many are no crowd.
    most = 2 * int(client.info("clients")["connected_clients"]) + 40
    client.config_set("maxclients", most)
    try:
        with ExitStack() as held:
            agent = held.enter_context(redis.Redis.from_url(redis_url))
            agent.ping()
            stay = agent.client_id()
            few = [held.enter_context(socket.create_connection((place.hostname, place.port)))]
            assert bounds.close_strangers() == 0
            for _ in range(most + 10):  # until nobody else gets in
                few.append(
                    held.enter_context(socket.create_connection((place.hostname, place.port)))
                )
            with pytest.raises(redis.ConnectionError):
                redis.Redis.from_url(redis_url).ping()
            assert "strangers" in bounds.bound_broker()
            assert redis.Redis.from_url(redis_url).ping()
            # Who has logged in, before or during it, was left alone.
            assert agent.client_id() == stay
            (alarm,) = Alarm.objects.filter(key="broker.crowd", cleared_at=None)
            assert "had not logged in" in alarm.message
        assert bounds.bound_broker() == ""
        assert not Alarm.objects.filter(cleared_at=None).exists()
    finally:
        client.config_set("maxclients", before)
