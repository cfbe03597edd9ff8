"""A scene is made once, inside one transaction; each case goes back to it by a savepoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from django.conf import settings
from django.db import transaction

from tenants.operations.models import Operation
from tenants.placement.models import Placement
from tenants.pool.models import Host
from tests.support.fake_driver import FakeDriver
from tests.support.memory_repository import HELD
from tests.workers.conftest import make_host, make_world
from tests.workers.flows.kills.outside import Outside
from tests.workers.flows.kills.scenes import Scene, Stage, prepare
from workers.flows import move
from workers.flows.steps import hold_swap, routing

MEMORY = "tests.support.memory_repository.MemoryRepository"
HOSTS = ("local", "second")


@dataclass
class Prepared:
    """A scene as every case of it begins. was_at: where the shop is by the record, "" for nowhere.

    calls: how many calls each act makes undisturbed; made, undone: all of the way forward, and of the way
    back, in their order.
    """

    scene: Scene
    stage: Stage
    operation: Operation
    outside: Outside
    begun: bytes
    was_at: str = ""
    calls: dict[tuple[str, str], int] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)

    @property
    def hostname(self) -> str:
        """Where visitors find the shop."""
        return f"{self.stage.instance.tenant.slug}.localhost"

    @contextmanager
    def case(self) -> Iterator[None]:
        """As the scene left it; whatever is done in the block is undone after it."""
        self.outside.restore(self.begun)
        with undone():
            yield


@contextmanager
def undone() -> Iterator[None]:
    """A transaction of the tests' own, of which nothing stays; to the product it is as if none were open."""
    own = transaction.atomic()
    own._from_testcase = True  # type: ignore[attr-defined]
    with own:
        try:
            yield
        finally:
            transaction.set_rollback(True)


@contextmanager
def prepared(scene: Scene) -> Iterator[Prepared]:
    """Make the scene; nothing of it stays."""
    with pytest.MonkeyPatch.context() as patch, undone():
        patch.setattr(settings, "STOA_REPOSITORY_CLASS", MEMORY)
        # Nobody waits in memory: what is not so now will not be so a moment later.
        patch.setattr(hold_swap, "QUIET_SECONDS", (0.0, 0.0, 0.0, 0.001))
        patch.setattr(routing, "CHECK_SECONDS", 0.0)
        patch.setattr(routing, "PASS_SECONDS", 0.0)
        patch.setattr(move, "LAST_ANSWERS_SECONDS", 0.0)
        HELD.objects, HELD.is_away = {}, False
        world = make_world()
        outside = Outside()
        for number, name in enumerate(HOSTS, start=1):
            host = Host.objects.get(name=name) if number == 1 else make_host(name)
            Host.objects.filter(pk=host.pk).update(address=f"100.96.0.{number}")
            outside.drivers[name] = FakeDriver()
            outside.at_address[f"100.96.0.{number}"] = name
        stage, operation = prepare(scene, world, outside)
        outside.violations.clear()
        place = Placement.objects.filter(until=None).values_list("host__name", flat=True)
        was_at = place.first() or ""
        yield Prepared(scene, stage, operation, outside, outside.state(), was_at)
