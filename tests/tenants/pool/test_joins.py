"""A join token lets one machine in, once; what it leaves in the record is hashes."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Network

import pytest
from django.db.models import F

from tenants.accounts import tokens
from tenants.errors import FieldError, JoinRefusedError
from tenants.pool import hosts, joins
from tenants.pool.joins import Credential, EdgeNetworks, NewJoinToken, Wish
from tenants.pool.models import Host, JoinToken
from tenants.pool.registration import AgentSecrets, MachineResources
from tests.factories import MIB, make_host, race

pytestmark = pytest.mark.django_db
CA = "c" * 64
KEY = "the key of one machine, made by itself"
REACH = EdgeNetworks((IPv4Network("10.0.0.0/24"),), range(10000, 32768))
ROOM = MachineResources(4000, 8192 * MIB, 65536 * MIB)
WISH = Wish(
    name="two",
    address="10.0.0.2",
    ports=range(10000, 20000),
    capacity=ROOM,
    reserve=MachineResources(100, 512 * MIB, 1024 * MIB),
    secrets=AgentSecrets("a" * 64, "b" * 64),
)


def make_token(**more: object) -> NewJoinToken:
    return joins.create(created_by="olga@example.com", ca_sha256=CA, **more)  # type: ignore[arg-type]


def credential(made: NewJoinToken, machine_key: str = KEY) -> Credential:
    _, _, key_id, secret = made.text.split(".")
    return Credential(key_id, secret, machine_key)


def accept(made: NewJoinToken, wish: Wish = WISH, *, machine_key: str = KEY) -> Host:
    return joins.accept(credential(made, machine_key), wish, reach=REACH)


def age(made: NewJoinToken, *, used: timedelta | None = None) -> None:
    """Let the token's time go by."""
    rows = JoinToken.objects.filter(pk=made.token.pk)
    if used is None:
        rows.update(expires_at=F("created_at") - timedelta(minutes=5))
    else:
        rows.update(used_at=F("used_at") - used)


def test_a_token_becomes_a_host_with_what_it_says_of_it() -> None:
    host = accept(make_token(zone="tokyo-1", labels={"rack": "b4"}))
    assert (host.name, host.zone, host.labels) == ("two", "tokyo-1", {"rack": "b4"})
    assert (host.broker_secret_sha256, host.token_sha256) == ("a" * 64, "b" * 64)
    assert (host.capacity_cpu_millis, host.reserve_memory_bytes) == (4000, 512 * MIB)
    assert (host.first_port, host.last_port, host.next_port) == (10000, 19999, 10000)


def test_neither_the_secret_nor_the_machines_key_is_kept() -> None:
    made = make_token()
    accept(made)
    secret = made.text.split(".")[3]
    kept = str(list(JoinToken.objects.values())) + str(list(Host.objects.values()))
    assert secret not in kept
    assert KEY not in kept
    assert secret not in repr(credential(made))
    assert KEY not in repr(credential(made))


def test_a_look_changes_nothing() -> None:
    made = make_token()
    joins.check(credential(made), WISH, reach=REACH)
    assert not Host.objects.exists()
    assert JoinToken.objects.get().used_at is None


def test_the_machine_that_used_it_may_repeat_and_changes_nothing() -> None:
    made = make_token(labels={"rack": "b4"})
    host = accept(made)
    hosts.edit(host, labels={"rack": "b5"})
    first = Host.objects.values().get()
    assert accept(made) == host
    assert Host.objects.values().get() == first


def test_another_machine_is_refused() -> None:
    made = make_token()
    accept(made)
    with pytest.raises(JoinRefusedError, match="another machine has used"):
        accept(made, replace(WISH, name="three", address="10.0.0.3"), machine_key="x" * 40)
    assert [host.name for host in Host.objects.all()] == ["two"]


@pytest.mark.django_db(transaction=True)
def test_of_two_machines_at_once_one_gets_in() -> None:
    made = make_token()
    other = replace(WISH, name="three", address="10.0.0.3")
    ended = race(lambda: accept(made), lambda: accept(made, other, machine_key="x" * 40))
    assert sorted(type(one).__name__ for one in ended) == ["Host", "JoinRefusedError"]
    assert Host.objects.count() == 1


@pytest.mark.parametrize("wrong", ["secret", "key_id"])
def test_a_wrong_half_says_nothing_about_the_other(wrong: str) -> None:
    made = make_token()
    bad = replace(credential(made), **{wrong: "0" * (38 if wrong == "secret" else 12)})
    with pytest.raises(JoinRefusedError, match="unknown"):
        joins.accept(bad, WISH, reach=REACH)


def test_one_that_ran_out_or_was_revoked_says_so() -> None:
    old, revoked = make_token(), make_token()
    age(old)
    joins.revoke(revoked.token)
    with pytest.raises(JoinRefusedError, match="expired 5 min ago"):
        accept(old)
    with pytest.raises(JoinRefusedError, match="revoked"):
        accept(revoked)


def test_a_repeat_is_good_past_the_tokens_end_but_not_for_ever() -> None:
    made = make_token()
    accept(made)
    age(made)
    accept(made)
    age(made, used=joins.REPEAT_FOR + timedelta(minutes=1))
    with pytest.raises(JoinRefusedError, match="this machine could repeat"):
        accept(made)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Two"}, "name"),
        ({"name": "one"}, "name"),
        ({"address": "nonsense"}, "address"),
        ({"address": "127.0.0.1"}, "address"),
        ({"address": "192.0.2.1"}, "address"),
        ({"address": "10.0.0.1"}, "probe_port"),
        ({"address": "10.0.0.1", "probe_port": 9798}, "address"),
        ({"ports": range(9000, 12000)}, "ports"),
        ({"ports": range(10000, 10005)}, "ports"),
        ({"reserve": ROOM}, "cpu_millis"),
    ],
)
def test_what_cannot_be_is_refused_and_the_token_stays_good(
    change: dict[str, object], field: str
) -> None:
    make_host("one", address="10.0.0.1")
    made = make_token()
    with pytest.raises(FieldError) as refused:
        accept(made, replace(WISH, **change))  # type: ignore[arg-type]
    assert refused.value.field == field
    assert JoinToken.objects.get().used_at is None
    accept(made)


def test_two_hosts_may_share_an_address_when_their_ports_do_not_meet() -> None:
    make_host("one", address="10.0.0.2", first_port=20000, last_port=30000)
    made = make_token()
    with pytest.raises(FieldError, match="--probe-port"):
        accept(made)
    accept(made, replace(WISH, probe_port=9798))


def test_the_same_machine_may_join_again_with_another_token() -> None:
    accept(make_token())
    host = accept(make_token(), replace(WISH, secrets=AgentSecrets("d" * 64, "e" * 64)))
    assert (host.broker_secret_sha256, Host.objects.count()) == ("d" * 64, 1)


def test_one_that_was_removed_comes_back_under_a_higher_epoch() -> None:
    host = accept(make_token())
    hosts.remove(host, by="olga")
    before = Host.ever.get().epoch
    again = accept(make_token(), machine_key="x" * 40)
    assert (again.pk, again.state, again.epoch) == (host.pk, "open", before + 1)


@pytest.mark.parametrize("lifetime", [timedelta(seconds=10), timedelta(days=8)])
def test_how_long_a_token_may_work_is_bounded(lifetime: timedelta) -> None:
    with pytest.raises(FieldError, match="ttl"):
        make_token(lifetime=lifetime)


def test_a_token_is_kept_by_its_hash() -> None:
    made = make_token()
    version, ca, key_id, secret = made.text.split(".")
    assert (version, ca, key_id) == ("J1", CA, made.token.key_id)
    assert tokens.matches(secret, made.token.secret_sha256)
