"""What the tests of lost data share: shops with copies, and what takes their data, host or worker away."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.db.models.functions import Now

from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.statuses import InstanceStatus
from runtime.wire import to_wire
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool import health
from tenants.pool.models import Host, HostReport
from tenants.shops.models import Instance, Tenant
from tenants.snapshots.models import Snapshot
from tenants.states import (
    HostHealth,
    Verb,
)
from tenants.transfers import missing_data, moves
from tests.workers.flows.pool import Pool
from workers.flows.steps import volumes
from workers.reconcilers import instances


class KilledError(BaseException):
    """The worker's process is gone: nothing of it runs on, not even an `except Exception`."""


def watch(pool: Pool) -> list[str]:
    """The starts from now on that found nothing in their volume, by host."""
    empty: list[str] = []
    for name, driver in pool.drivers.items():

        def started(
            spec: InstanceSpec,
            *,
            fence: Fence,
            _start: Callable[..., InstanceStatus] = driver.ensure_running,
            _name: str = name,
        ) -> InstanceStatus:
            status = _start(spec, fence=fence)
            if not spec.new_volume and not pool.drivers[_name].contents[spec.volume]:
                empty.append(_name)
            return status

        driver.ensure_running = started  # type: ignore[method-assign]
    return empty


def copied(pool: Pool, *orders: bytes) -> Instance:
    """A shop with a copy after each order, and one order, `late`, that is in none."""
    instance = pool.shop()
    placement = Placement.objects.select_related("host").get(instance=instance, until=None)
    for order in (b"first", *orders):
        pool.order(instance, order)
        volumes.take(None, instance.tenant, placement, pool.clients, reason="asked")
        # Each a full one: what is lost with one must not be lost with all.
        Snapshot.objects.update(base=None, depth=0)
        for one in pool.drivers.values():
            one._stored._known.clear()
    pool.order(instance, b"late")
    return instance


def volume_of(instance: Instance) -> str:
    return instance.tenant.public_id.replace("_", "-")


def lose_volume(pool: Pool, instance: Instance) -> dict[str, bytes]:
    """Somebody moves the volume's directory away, and the container ends; what was in it."""
    driver = pool.drivers["local"]
    driver.volumes.discard(volume_of(instance))
    content = dict(driver.contents.pop(volume_of(instance)))
    driver.end(instance.public_id, exit_code=137)
    return content


def bring_back(pool: Pool, instance: Instance, content: dict[str, bytes]) -> None:
    pool.drivers["local"].contents[volume_of(instance)].update(content)
    pool.drivers["local"].volumes.add(volume_of(instance))


def lose_host(name: str = "local") -> Operation:
    host = Host.objects.get(name=name)
    assert health.move(host.pk, HostHealth.ALIVE, HostHealth.UNREACHABLE, reason="a test")
    assert health.move(host.pk, HostHealth.UNREACHABLE, HostHealth.LOST, reason="a test")
    HostReport.objects.filter(host=host).delete()
    (placement,) = health.waiting_for_a_place(10)
    operation = health.begin_recovery(placement)
    assert operation is not None
    return operation


def host_returns(pool: Pool, instance: Instance, name: str = "local") -> None:
    """The host is heard again; first it is told what is not its own any more."""
    host = Host.objects.get(name=name)
    if instance.public_id not in health.kept_on(host):
        pool.drivers[name].ensure_absent(
            instance.public_id, fence=Fence(host.epoch, 0), volume=VolumeFate.KEEP
        )
    assert health.move(host.pk, HostHealth.LOST, HostHealth.ALIVE, reason="back")
    HostReport.objects.create(
        host=host, seen_at=Now(), boot_id="c", sequence=1, digest="d", inventory=[]
    )
    health.repair_waiting(host.pk)


def report(pool: Pool, name: str = "local") -> None:
    HostReport.objects.filter(host__name=name).update(
        seen_at=Now(), inventory=to_wire(pool.drivers[name].list())
    )
    Placement.objects.update(since="2020-01-01T00:00:00Z")
    Instance.objects.update(state_since="2020-01-01T00:00:00Z")


def damage(snapshot: Snapshot, tmp_path: Path) -> None:
    path = tmp_path / "repository" / snapshot.tenant.public_id / snapshot.public_id
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def missing_shop(pool: Pool, *orders: bytes) -> tuple[Instance, dict[str, bytes]]:
    """A shop whose volume has gone, as reconcile and its repair leave it."""
    instance = copied(pool, *orders)
    content = lose_volume(pool, instance)
    report(pool)
    instances.carry_out(pool.clients.driver_for)
    assert pool.settle(Operation.objects.get(verb=Verb.REPAIR)) == "failed"
    instance.refresh_from_db()
    return instance, content


def choose(instance: Instance, choice: str, **more: object) -> Operation:
    tenant = Tenant.objects.get(pk=instance.tenant_id)
    return missing_data.choose(tenant, choice, **more)  # type: ignore[arg-type]


def arm(pool: Pool, monkeypatch: pytest.MonkeyPatch, point: tuple[str, str]) -> None:
    call, when = point
    owners: list[object] = list(pool.drivers.values())
    if call == "apply":
        owners = [pool.world.edges]
    elif call in ("reserve", "change_place", "close"):
        owners = [moves]
    for owner in owners:
        work: Callable[..., object] = getattr(owner, call)

        def killed(*args: object, _work: Callable[..., object] = work, **kwargs: object) -> object:
            if when == "before":
                raise KilledError
            _work(*args, **kwargs)
            raise KilledError

        monkeypatch.setattr(owner, call, killed)
