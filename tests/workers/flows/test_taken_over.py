"""A worker whose operation was taken over writes nothing more of what it found."""

from pathlib import Path

import pytest
from django.db.models import F
from pytest_django.fixtures import Settings

from tenants.operations.models import Operation
from tenants.states import OperationState
from tests.workers.conftest import World
from tests.workers.flows.losses import copied, lose_host
from tests.workers.flows.pool import Shelf, make_pool
from workers.flows.steps import volumes

pytestmark = pytest.mark.django_db


def test_a_recovery_that_was_taken_over_within_its_load_writes_nothing(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.STOA_SNAPSHOTS = str(tmp_path / "repository")
    pool = make_pool(world, Shelf(tmp_path))
    copied(pool, b"first")
    operation = lose_host()
    load = volumes.load
    told = {"by": "the next"}

    def taken_over(*args: object, **more: object) -> object:
        found = load(*args, **more)  # type: ignore[arg-type]
        Operation.objects.filter(pk=operation.pk).update(
            lease_owner="the next", fence=F("fence") + 1, arguments=told
        )
        return found

    monkeypatch.setattr(volumes, "load", taken_over)
    assert world.run(operation) == "taken over"
    assert operation.arguments == told
    assert operation.state == OperationState.RUNNING
