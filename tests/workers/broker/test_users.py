"""Agents get their broker users from the record, again after Redis has lost them."""

from collections.abc import Iterator

import pytest
import redis

from tenants.pool.models import Host
from tests.workers.conftest import World
from workers.broker import users


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client
        for user in ("host.local", "edge.local", "host.gone"):
            client.acl_deluser(user)


def log_in(redis_url: str, user: str, password: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url.replace("control:only-for-tests", f"{user}:{password}"))


def test_users_come_from_the_record(world: World, client: redis.Redis, redis_url: str) -> None:
    assert users.apply_broker_users() == "2 set, 0 taken away"
    with log_in(redis_url, "host.local", "local") as agent:
        agent.set("report.host.local", "{}", ex=1)
        with pytest.raises(redis.exceptions.NoPermissionError):
            agent.set("report.host.other", "{}")
    assert users.apply_broker_users() == ""


def test_users_that_the_broker_lost_are_set_again(
    world: World, client: redis.Redis, redis_url: str
) -> None:
    users.apply_broker_users()
    client.acl_deluser("host.local")
    assert users.apply_broker_users() == "1 set, 0 taken away"
    with log_in(redis_url, "host.local", "local") as agent:
        agent.set("report.host.local", "{}", ex=1)


def test_a_new_password_replaces_the_old_one(
    world: World, client: redis.Redis, redis_url: str
) -> None:
    from hashlib import sha256

    users.apply_broker_users()
    Host.objects.update(broker_secret_sha256=sha256(b"new").hexdigest())
    assert users.apply_broker_users() == "1 set, 0 taken away"
    with log_in(redis_url, "host.local", "local") as old, pytest.raises(redis.AuthenticationError):
        old.ping()
    with log_in(redis_url, "host.local", "new") as agent:
        assert agent.ping()


def test_an_agent_that_left_the_record_loses_its_user(world: World, client: redis.Redis) -> None:
    client.acl_setuser("host.gone", enabled=True, nopass=True)
    users.apply_broker_users()
    assert "host.gone" not in client.acl_users()
