"""A shop that begins empty does so once: what was ordered since is its data, wherever the way was cut."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.errors import HostUnreachableError
from runtime.specs import Fence, InstanceSpec
from runtime.statuses import InstanceStatus
from tenants.errors import StateConflictError
from tenants.operations import attempts, operations
from tenants.operations.models import Operation, Step
from tenants.placement import routes
from tenants.placement.models import Placement
from tenants.pool import health
from tenants.pool.models import Host, HostReport
from tenants.shops import repeats
from tenants.shops.models import Instance
from tenants.snapshots.models import Snapshot
from tenants.states import DataChoice, HostHealth, InstanceState, SnapshotState
from tests.workers.flows.losses import (
    KilledError,
    choose,
    copied,
    host_returns,
    lose_host,
    missing_shop,
)
from tests.workers.flows.pool import Pool
from workers.flows.steps import routing

pytestmark = pytest.mark.django_db


def begun(pool: Pool) -> list[str]:
    """The hosts on which a new volume was allowed from now on, in order."""
    told: list[str] = []
    for name, driver in pool.drivers.items():

        def started(
            spec: InstanceSpec,
            *,
            fence: Fence,
            _start: Callable[..., InstanceStatus] = driver.ensure_running,
            _name: str = name,
        ) -> InstanceStatus:
            if spec.new_volume:
                told.append(_name)
            return _start(spec, fence=fence)

        driver.ensure_running = started  # type: ignore[method-assign]
    return told


def fall(name: str) -> None:
    host = Host.objects.get(name=name)
    assert health.move(host.pk, HostHealth.ALIVE, HostHealth.UNREACHABLE, reason="a test")
    assert health.move(host.pk, HostHealth.UNREACHABLE, HostHealth.LOST, reason="a test")
    HostReport.objects.filter(host=host).delete()


def asked_here(pool: Pool, tmp_path: Path) -> tuple[Instance, Operation]:
    """Its host is there, its volume is not: the edges lead there all the time."""
    instance, _ = missing_shop(pool)
    return instance, choose(instance, DataChoice.EMPTY, typed="acme")


def asked_elsewhere(pool: Pool, tmp_path: Path) -> tuple[Instance, Operation]:
    """Its host is lost, and the repository away."""
    instance = copied(pool)
    recovery = lose_host()
    (tmp_path / "repository").rename(tmp_path / "away")
    assert pool.world.run(recovery) == "waits"
    (tmp_path / "away").rename(tmp_path / "repository")
    return instance, choose(instance, DataChoice.EMPTY, typed="acme")


def cut(
    pool: Pool, operation: Operation, monkeypatch: pytest.MonkeyPatch, call: str, when: str
) -> None:
    """Kill the worker before or after the call."""
    owners: dict[str, list[object]] = {
        "ensure_running": list(pool.drivers.values()),
        "apply": [pool.world.edges],
        "check": [routing],
        "succeed": [attempts],
    }
    with monkeypatch.context() as patch:
        for owner in owners[call]:
            work: Callable[..., object] = getattr(owner, call)

            def killed(
                *args: object, _work: Callable[..., object] = work, **more: object
            ) -> object:
                if when == "after":
                    _work(*args, **more)
                raise KilledError

            patch.setattr(owner, call, killed)
        with pytest.raises(KilledError):
            pool.world.run(operation)


def ordered(pool: Pool, instance: Instance) -> bool:
    """Let a visitor order where edges lead, if the shop runs there; whether that was so."""
    placement = Placement.objects.select_related("host").get(instance=instance, until=None)
    name = placement.host.name
    value = routes.value_to(instance.tenant, address=placement.host.address, port=placement.port)
    if pool.route(instance) != value or name not in pool.running(instance):
        return False
    pool.contents(name, instance)["between"] = b"between"
    return True


WAYS = {"here": asked_here, "elsewhere": asked_elsewhere}
POINTS = (
    ("ensure_running", "before"),
    ("ensure_running", "after"),
    ("apply", "before"),
    ("apply", "after"),
    ("check", "before"),
    ("succeed", "before"),
)
THEN = ("lost", "lost for good", "back")
UNREACHED = {
    "here": (("ensure_running", "before"),),
    "elsewhere": (("ensure_running", "before"), ("ensure_running", "after"), ("apply", "before")),
}
CASES = [
    pytest.param(
        *(way, call, when, then),
        marks=() if then == "lost" or (call, when) == ("apply", "after") else pytest.mark.long,
    )
    for way in WAYS
    for call, when in POINTS
    for then in THEN
]


@pytest.mark.parametrize(("way", "call", "when", "then"), CASES)
def test_what_may_have_been_ordered_from_never_begins_empty_again(
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    way: str,
    call: str,
    when: str,
    then: str,
) -> None:
    instance, operation = WAYS[way](pool, tmp_path)
    cut(pool, operation, monkeypatch, call, when)
    place = pool.place(instance)
    was_ordered = ordered(pool, instance)
    assert was_ordered == ((call, when) not in UNREACHED[way])
    if then == "lost for good":
        Snapshot.objects.update(state=SnapshotState.GONE)
    fall(place)
    empty = begun(pool)
    if then == "back":
        host_returns(pool, instance, place)
    ended = pool.settle(operation)
    instance.refresh_from_db()
    if not was_ordered:
        return
    assert [name for name in empty if name != place] == []
    if then == "lost for good":
        assert (ended, operation.error_code) == ("failed", "no_copy")
        assert instance.state == InstanceState.DATA_MISSING
        host_returns(pool, instance, place)
        assert pool.settle(Operation.objects.latest("pk")) == "succeeded"
    if then == "lost":
        assert pool.place(instance) != place
        assert pool.orders(pool.place(instance), instance) == {"first"}
        assert "copy of" in Step.objects.get(operation=operation, name="load").detail
    else:
        assert pool.place(instance) == place
        assert pool.orders(place, instance) == {"between"}


def test_what_nobody_can_have_ordered_from_begins_empty_as_was_chosen(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instance, operation = asked_elsewhere(pool, tmp_path)
    cut(pool, operation, monkeypatch, "ensure_running", "before")
    fall(pool.place(instance))
    assert pool.settle(operation) == "succeeded"
    assert pool.orders(pool.place(instance), instance) == set()


def test_one_that_has_begun_and_does_not_answer_is_repaired_with_what_it_holds(
    pool: Pool, tmp_path: Path
) -> None:
    instance, operation = asked_here(pool, tmp_path)
    empty = begun(pool)
    answer = pool.clients.look
    object.__setattr__(pool.clients, "look", lambda *_: 503)
    provision_seconds = routing.CHECK_SECONDS
    routing.CHECK_SECONDS = 0.05
    try:
        assert pool.settle(operation, most=40) == "failed"
    finally:
        routing.CHECK_SECONDS = provision_seconds
        object.__setattr__(pool.clients, "look", answer)
    instance.refresh_from_db()
    assert instance.state == InstanceState.FAILED
    assert empty == ["local"]
    assert ordered(pool, instance)
    repair = operations.open_operation(instance, "repair")
    assert pool.settle(repair) == "succeeded"
    assert pool.orders("local", instance) == {"between"}


def test_a_begin_empty_that_failed_is_not_repeated_without_the_name(
    pool: Pool, tmp_path: Path
) -> None:
    _, operation = asked_here(pool, tmp_path)
    operations.cancel(operation)
    pool.settle(operation)
    Operation.objects.filter(pk=operation.pk).update(state="failed")
    with pytest.raises(StateConflictError, match=r"its name is typed.*--begin-empty"):
        repeats.retry(operation)


def test_a_container_that_runs_on_without_its_volume_is_ended_before_it_begins_empty(
    pool: Pool,
) -> None:
    instance, _ = missing_shop(pool)
    driver = pool.drivers["local"]
    driver._held[instance.public_id].status = driver._started(
        driver._held[instance.public_id].spec, Fence(1, 1)
    ).status
    operation = choose(instance, DataChoice.EMPTY, typed="acme")
    driver.fail_next("volumes_here", HostUnreachableError("silent"))
    assert pool.world.run(operation) == "waits"
    assert pool.settle(operation) == "succeeded"
    assert instance.tenant.public_id.replace("_", "-") in driver.volumes
    pool.check_one(instance)
