"""Where each flow begins: a shop, what visitors left in it, and the operation that is asked for."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from django.db.models.functions import Now

from tenants.catalogue.models import Release
from tenants.operations import operations
from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool import health
from tenants.pool.models import Host, HostReport
from tenants.shops import removals
from tenants.shops.models import Instance, Tenant
from tenants.states import DataChoice, HostHealth, SnapshotReason, Verb
from tenants.transfers import missing_data, moves, restores
from tests.support.working import work
from tests.workers.conftest import World
from tests.workers.flows.kills.outside import Outside
from workers.flows.steps import volumes


class StoppedError(BaseException):
    """A worker that a scene ends in the middle."""


@dataclass
class Stage:
    """One shop `acme`, three hosts, and what is outside the control plane."""

    world: World
    outside: Outside
    instance: Instance
    first_login: Operation

    def open_shop(self) -> None:
        """Have the shop run, and a visitor leave `first` in it."""
        self.run(self.first_login)
        self.first_login.refresh_from_db()
        assert self.first_login.state == "succeeded", self.first_login.error_message
        self.visit("first")

    def run(self, operation: Operation) -> None:
        """One go of a worker."""
        work(operation.pk, self.outside.clients)

    def visit(self, name: str) -> None:
        """A visitor leaves an order, if the shop answers."""
        self.outside.visit(name, self.instance)

    def copy(self) -> str:
        """Have a copy of the shop's data made; its id."""
        placement = Placement.objects.select_related("host").get(instance=self.instance, until=None)
        taken = volumes.take(
            None, self.tenant, placement, self.outside.clients, reason=SnapshotReason.ASKED
        )
        return taken.public_id

    @property
    def tenant(self) -> Tenant:
        """The tenant as the record has it now."""
        return Tenant.objects.get(pk=self.instance.tenant_id)

    def fresh(self) -> Instance:
        """The instance as the record has it now."""
        return Instance.objects.select_related("tenant", "release").get(pk=self.instance.pk)

    def lose_host(self, name: str) -> None:
        """The host is declared lost: nobody reaches it, and what runs there runs on."""
        host = Host.objects.get(name=name)
        assert health.move(host.pk, HostHealth.ALIVE, HostHealth.UNREACHABLE, reason="a test")
        assert health.move(host.pk, HostHealth.UNREACHABLE, HostHealth.LOST, reason="a test")
        HostReport.objects.filter(host=host).delete()
        self.outside.lost.add(name)

    def lose_volume(self, name: str) -> None:
        """Somebody moves the volume's directory away, and the container ends."""
        driver = self.outside.drivers[name]
        driver.volumes.discard(self.outside.volume)
        driver.contents.pop(self.outside.volume)
        driver.end(self.instance.public_id, exit_code=137)
        missing_data.say(self.fresh(), reason="a test")


def _provision(stage: Stage) -> Operation:
    return stage.first_login


def _repair(stage: Stage) -> Operation:
    stage.open_shop()
    stage.outside.drivers["local"].end(stage.instance.public_id, exit_code=137)
    return operations.open_operation(stage.fresh(), Verb.REPAIR)


def _move(stage: Stage) -> Operation:
    stage.open_shop()
    return moves.request(stage.fresh(), to_host=Host.objects.get(name="second"), reason="a test")


def _restore(stage: Stage) -> Operation:
    stage.open_shop()
    earlier = stage.copy()
    stage.visit("second")
    snapshot = stage.tenant.snapshots.get(public_id=earlier)
    return restores.request(stage.tenant, snapshot)


def _lost(stage: Stage) -> Operation:
    stage.open_shop()
    if stage.instance.release.has_volume:
        stage.copy()
    stage.visit("in no copy")
    stage.lose_host("local")
    (placement,) = health.waiting_for_a_place(10)
    operation = health.begin_recovery(placement)
    assert operation is not None
    return operation


def _without_data(stage: Stage) -> str:
    """A shop whose volume is gone, with two copies of it; the older one's id."""
    stage.open_shop()
    older = stage.copy()
    stage.visit("second")
    stage.copy()
    stage.visit("in no copy")
    stage.lose_volume("local")
    return older


def _older(stage: Stage) -> Operation:
    older = stage.tenant.snapshots.get(public_id=_without_data(stage))
    return missing_data.choose(stage.tenant, DataChoice.COPY, snapshot=older)


def _empty(stage: Stage) -> Operation:
    _without_data(stage)
    return missing_data.choose(stage.tenant, DataChoice.EMPTY, typed="acme")


def _remove(stage: Stage) -> Operation:
    stage.open_shop()
    return removals.request(stage.tenant)


def _remove_moving(stage: Stage) -> Operation:
    move = _move(stage)

    def stop(who: str, call: str) -> None:
        if (who, call) == ("local", "ensure_stopped"):
            raise StoppedError

    stage.outside.before = stop
    with suppress(StoppedError):
        stage.run(move)
    assert stage.outside.drivers["second"].volumes
    return removals.request(stage.tenant)


@dataclass(frozen=True, slots=True)
class Scene:
    """One flow from one beginning.

    back: the step at which it is made to go back, and how: its act fails for good, or it is cancelled
    there. "" for a flow that does not go back. calls, back_calls: how many calls to hosts and edges it makes
    on its way forward, and on its way back.
    """

    name: str
    title: str
    verb: Verb
    ask: Callable[[Stage], Operation]
    calls: int
    has_volume: bool = True
    back: str = ""
    back_by: str = "fails"
    back_calls: int = 0


SCENES: dict[str, Scene] = {
    scene.name: scene
    for scene in (
        Scene(
            *("provision", "Provision", Verb.PROVISION, _provision),
            calls=2,
            back="check",
            back_calls=2,
        ),
        Scene(
            *("provision_no_volume", "Provision, without a volume", Verb.PROVISION, _provision),
            calls=2,
            has_volume=False,
            back="check",
            back_calls=2,
        ),
        Scene("repair", "Repair", Verb.REPAIR, _repair, calls=2),
        Scene("move", "Move", Verb.MOVE, _move, calls=10, back="start", back_calls=3),
        Scene(
            *("move_no_volume", "Move, without a volume", Verb.MOVE, _move),
            calls=4,
            has_volume=False,
            back="start",
            back_calls=1,
        ),
        Scene("restore", "Restore", Verb.RESTORE, _restore, calls=7, back="start", back_calls=4),
        Scene(
            *("recover_lost", "Recover, its host being lost", Verb.RECOVER, _lost),
            calls=3,
            back="load",
            back_by="cancel",
            back_calls=1,
        ),
        Scene(
            *("recover_lost_no_volume", "Recover, without a volume", Verb.RECOVER, _lost),
            calls=2,
            has_volume=False,
            back="load",
            back_by="cancel",
            back_calls=1,
        ),
        Scene(
            "recover_older", "Recover from an older copy, as chosen", Verb.RECOVER, _older, calls=4
        ),
        Scene("recover_empty", "Recover empty, as chosen", Verb.RECOVER, _empty, calls=3),
        Scene("remove", "Remove", Verb.REMOVE, _remove, calls=2),
        Scene(
            "remove_moving", "Remove in the middle of a move", Verb.REMOVE, _remove_moving, calls=3
        ),
    )
}


def prepare(scene: Scene, world: World, outside: Outside) -> tuple[Stage, Operation]:
    """Have the scene's operation asked for."""
    Release.objects.update(has_volume=scene.has_volume)
    operation = world.sign_up()
    Operation.objects.filter(pk=operation.pk).update(run_after=Now())
    instance = Instance.objects.select_related("tenant", "release").get(tenant=operation.tenant)
    outside.instance_id = instance.public_id
    outside.volume = instance.tenant.public_id.replace("_", "-")
    stage = Stage(world, outside, instance, operation)
    asked = scene.ask(stage)
    outside.may_run_two = scene.verb == Verb.MOVE and not scene.has_volume
    outside.before = lambda _who, _call: None
    return stage, asked
