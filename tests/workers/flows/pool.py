"""A pool of three hosts in memory, and a shelf for the states of volumes between them."""

from dataclasses import dataclass, field
from pathlib import Path

from runtime.statuses import ContainerState
from runtime.volume_requests import VolumeLoad, VolumePart, VolumeSave
from tenants.operations.leases import Lease
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tenants.shops.models import Instance, Tenant
from tenants.transfers import moves
from tenants.transfers.models import Move
from tests.support.fake_driver import FakeDriver
from tests.workers.conftest import World, make_host
from workers.flows.clients import Clients
from workers.pool import mapping

ORDERS = "orders"

# How long what is held must be quiet before it is stopped: real ones are seconds.
QUIET = (0.02, 0.02, 0.02, 0.04)


@dataclass
class Pool:
    """Hosts `local`, `second` and `third`, each with a driver of its own."""

    world: World
    shelf: "Shelf"
    drivers: dict[str, FakeDriver] = field(default_factory=dict)

    @property
    def clients(self) -> Clients:
        return self.world.clients

    def shop(self, slug: str = "acme") -> Instance:
        """A running shop with an order in its volume."""
        tenant = self.world.live_tenant(slug)
        instance = Instance.objects.select_related("tenant").get(tenant=tenant)
        self.order(instance, b"first")
        return instance

    def order(self, instance: Instance, order: bytes) -> None:
        """Write an order where the shop runs, as the shop itself would."""
        (name,) = self.running(instance)
        self.contents(name, instance)[order.decode()] = order

    def orders(self, host: str, instance: Instance) -> set[str]:
        return set(self.contents(host, instance))

    def contents(self, host: str, instance: Instance) -> dict[str, bytes]:
        return self.drivers[host].contents[instance.tenant.public_id.replace("_", "-")]

    def volumes(self, host: str) -> set[str]:
        return self.drivers[host].volumes

    def running(self, instance: Instance) -> list[str]:
        """The hosts on which the instance runs."""
        return [
            name
            for name, driver in self.drivers.items()
            if driver.status(instance.public_id).state is ContainerState.RUNNING
        ]

    def place(self, instance: Instance) -> str:
        return Placement.objects.get(instance=instance, until=None).host.name

    def route(self, instance: Instance) -> str:
        return self.world.edges.routes[f"{instance.tenant.slug}.localhost"]

    def ask(self, instance: Instance, to: str = "second") -> Operation:
        instance = Instance.objects.select_related("tenant").get(pk=instance.pk)
        return moves.request(instance, to_host=Host.objects.get(name=to), reason="a test")

    def settle(self, operation: Operation, *, most: int = 12) -> str:
        """Run the operation until it has ended, as workers and the sweep would."""
        for _ in range(most):
            operation.refresh_from_db()
            if not operation.is_open:
                return str(operation.state)
            Operation.objects.filter(pk=operation.pk).update(lease_until=None)
            self.world.run(operation)
        raise AssertionError(f"{operation.verb} never ended: {operation.error_message}")

    def check_one(self, instance: Instance) -> None:
        """Exactly one runs, at its place; its route leads there; nothing else is booked or open."""
        place = self.place(instance)
        assert self.running(instance) == [place]
        placement = Placement.objects.get(instance=instance, until=None)
        assert (
            self.route(instance)
            == f"{instance.tenant.slug}@{placement.host.address}:{placement.port}"
        )
        assert not Move.objects.filter(ended_at=None).exists()
        for host in Host.objects.all():
            booked = sum(
                one.memory_bytes for one in Placement.objects.filter(host=host, until=None)
            )
            assert host.booked_memory_bytes == booked, host.name


@dataclass
class Shelf:
    """Stands for the repository: archives as files, the chain of each tenant in order."""

    place: Path
    chains: dict[str, list[VolumePart]] = field(default_factory=dict)

    def take(
        self,
        lease: Lease | None,
        tenant: Tenant,
        placement: Placement,
        clients: Clients,
        *,
        reason: str,
    ) -> None:
        chain = self.chains.setdefault(tenant.public_id, [])
        snapshot = f"snp_{sum(map(len, self.chains.values())):012d}"
        url = (self.place / snapshot).as_uri()
        volume = tenant.public_id.replace("_", "-")
        base = chain[-1].snapshot if chain else ""
        saved = clients.driver_for(placement.host).save_volume(
            VolumeSave(volume, snapshot, base, url)
        )
        if saved.unchanged:
            return
        if not saved.base:
            chain.clear()
        chain.append(VolumePart(snapshot, saved.sha256, saved.archive_bytes, url))

    def bring(
        self, lease: Lease, operation: Operation, placement: Placement, clients: Clients
    ) -> None:
        chain = tuple(self.chains[operation.tenant.public_id])
        clients.driver_for(placement.host).load_volume(
            VolumeLoad(
                operation.instance.public_id,
                mapping.volume_of(operation),
                chain,
                operation.tenant.plan.disk_bytes,
                0,
                0,
            ),
            fence=mapping.fence_of(placement, lease),
        )


def make_pool(world: World, shelf: Shelf) -> Pool:
    pool = Pool(world, shelf, {"local": world.driver})
    for number, name in enumerate(("second", "third"), start=2):
        host = make_host(name)
        Host.objects.filter(pk=host.pk).update(address=f"100.96.0.{number}")
        pool.drivers[name] = FakeDriver()
    world.clients = Clients(
        driver_for=lambda host: pool.drivers[host.name],
        edges=world.edges,
        look=lambda _edge, hostname, _path: _answer(pool, hostname),
    )
    return pool


def _answer(pool: Pool, hostname: str) -> int:
    """200 when a shop runs where the route leads."""
    value = pool.world.edges.routes.get(hostname, "")
    address, _, port = value.partition("@")[2].partition(":")
    host = Host.objects.filter(address=address).first()
    if host is None:
        return 503
    held = pool.drivers[host.name].list()
    return 200 if any(str(one.published_port) == port and one.healthy for one in held) else 503
