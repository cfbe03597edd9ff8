"""The harness itself: a flow that does wrong is caught, whichever rule it breaks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from runtime.specs import Fence
from tenants.errors import PoolUnseenError
from tenants.placement import routes
from tenants.pool.models import Host
from tenants.states import Verb
from tenants.transfers import turns
from tests.workers.flows.kills import matrix, points
from tests.workers.flows.kills.disturbances import DISTURBANCES
from tests.workers.flows.kills.harness import CALL, Case
from tests.workers.flows.kills.scenes import SCENES
from tests.workers.flows.kills.stage import Prepared
from workers.flows.running.flow import Context, nothing
from workers.flows.steps import routing
from workers.flows.tables import TABLES
from workers.pool import mapping

pytestmark = pytest.mark.django_db


def spoil(
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    phase: str,
    *,
    act: Callable[[Any], None] | None = None,
    undo: Callable[[Any], None] | None = None,
) -> None:
    """Have a step of the verb's flow do something else."""
    flow = TABLES[verb]
    steps = tuple(
        replace(one, act=act or one.act, undo=undo or one.undo) if one.phase == phase else one
        for one in flow.steps
    )
    assert steps != flow.steps
    monkeypatch.setitem(TABLES, verb, replace(flow, steps=steps))


def faults_of(scene: Prepared, step: str, when: str, kind: str, *, way: str = "") -> str:
    """What the harness says of a case, the undisturbed run aside."""
    scene.made = ["nothing is counted"]
    return "\n".join(matrix.run_case(scene, Case(scene.scene.name, way, step, when, kind))[1])


@pytest.mark.parametrize("scene", ["provision"], indirect=True)
def test_an_undo_that_undoes_nothing_is_caught(
    scene: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, Verb.PROVISION, "start", undo=nothing)
    spoil(monkeypatch, Verb.PROVISION, "route", undo=nothing)
    found = faults_of(scene, "place", "before", "repeat", way="back")
    assert "the shop is failed and runs on local" in found
    assert "visitors are led to local" in found


@pytest.mark.parametrize("scene", ["repair"], indirect=True)
def test_a_step_that_runs_two_containers_is_caught(
    scene: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = next(step.act for step in TABLES[Verb.REPAIR].steps if step.phase == "start")

    def start_twice(context: Context) -> None:
        start(context)
        spec = mapping.spec_of(context.operation, context.placed)  # type: ignore[attr-defined]
        second = context.driver(Host.objects.get(name="second"))
        second.ensure_running(replace(spec, new_volume=True), fence=Fence(1, 100))

    spoil(monkeypatch, Verb.REPAIR, "start", act=start_twice)
    assert "runs on local and second at once" in faults_of(scene, "check", "after", "repeat")


@pytest.mark.parametrize("scene", ["remove"], indirect=True)
def test_a_step_that_leaves_something_behind_is_caught(
    scene: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, Verb.REMOVE, "stop", act=nothing)
    found = faults_of(scene, "clean", "before", "edge_silent")
    assert "a volume is left on local" in found


@pytest.mark.parametrize("scene", ["repair"], indirect=True)
def test_a_step_that_loses_an_order_is_caught(
    scene: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(_: Context) -> None:
        scene.outside.contents("local").clear()

    spoil(monkeypatch, Verb.REPAIR, "check", act=forget)
    found = faults_of(scene, "start", "after", "cancel")
    assert "these orders are lost" in found
    assert "first" in found


@pytest.mark.parametrize("scene", ["repair"], indirect=True)
def test_a_step_that_never_lets_go_is_caught(
    scene: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(_: Context) -> None:
        raise PoolUnseenError("nobody")

    spoil(monkeypatch, Verb.REPAIR, "check", act=wait)
    assert "no end after" in faults_of(scene, "start", "after", "repeat")


@pytest.mark.parametrize("scene", ["provision"], indirect=True)
def test_an_end_that_is_not_so_is_caught(scene: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, Verb.PROVISION, "check", act=_end_the_container(scene))
    found = faults_of(scene, "start", "before", "broker_gone")
    assert "provision succeeded; it is at local, visitors are led to none" in found
    assert "it is not so that 'Your shop is open'" in found or "repair" in found


@pytest.mark.parametrize("scene", ["provision"], indirect=True)
def test_a_call_that_no_fence_stops_is_caught(
    scene: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "fence_of", lambda *_: Fence(1, 1000))
    found = faults_of(scene, "1", "before", "removal", way=CALL)
    assert "a volume is left on local" in found, "its container was a stray, and ended as one"


@pytest.mark.parametrize("scene", ["move"], indirect=True)
@pytest.mark.parametrize("kind", ["removal", "taken_over"])
def test_a_route_that_a_late_worker_records_is_caught(
    scene: Prepared, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(turns, "take", lambda *_: True)

    def held(context: Context) -> None:
        routing.spread(routes.to_hold(context.operation.tenant), context.clients)

    monkeypatch.setattr(routing, "hold", held)
    assert "requests are held" in faults_of(scene, "hold", "before", kind)


def _end_the_container(scene: Prepared) -> Callable[[Any], None]:
    def ended(_: Context) -> None:
        outside = scene.outside
        outside.drivers["local"].end(outside.instance_id, exit_code=1)

    return ended


def test_every_verb_with_steps_is_disturbed_at_each_of_them() -> None:
    assert {scene.verb for scene in SCENES.values()} == set(Verb)
    for scene in SCENES.values():
        cases = matrix.cases_of(scene)
        for phase in (step.phase for step in TABLES[scene.verb].steps):
            mine = [case for case in cases if (case.way, case.step) == ("", phase)]
            assert [one.disturbance for one in mine if one.when == "before"] == [*DISTURBANCES]
            after = {one.disturbance for one in mine if one.when == "after"}
            assert {*DISTURBANCES} - after == {"host_silent", "repository_away", "edge_silent"}
        undone = [step.phase for step in TABLES[scene.verb].steps if step.undo is not None]
        assert {case.step for case in cases if case.way == "back"} <= {*undone, points.END}
