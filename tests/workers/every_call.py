"""One call of every kind that control makes, with every argument given, and who keeps what was sent."""

import inspect
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from runtime.driver import Driver
from runtime.edge.edge import FullTable, HaproxyEdge, Summary
from runtime.edge.probe import ProbeTarget
from runtime.errors import HostUnreachableError, RuntimeCoreError
from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.statuses import (
    ContainerState,
    ExecResult,
    ImageStatus,
    InstanceStatus,
    Trouble,
    TroubleKind,
)
from runtime.units import MIB, Limits, Sample
from runtime.volume_requests import VolumeLoad, VolumeLoaded, VolumePart, VolumeSave, VolumeSaved
from runtime.wire import JsonValue, to_wire
from workers.agents.common.envelope import Envelope
from workers.agents.edge.handlers import EdgeCalls
from workers.agents.host.adoption import Adoption
from workers.agents.host.handlers import HostCalls
from workers.rpc.client import AgentCall
from workers.rpc.drivers import EdgeClient, HostProber, RemoteDriver
from workers.rpc.edge_types import EdgeSeat, RouteMessage

INSTANCE, SHA, FENCE = "ins_00000001", "1" * 64, Fence(3, 7)
DIGEST = f"sha256:{SHA}"
SPEC = InstanceSpec(
    instance_id=INSTANCE,
    tenant="acme",
    image_digest=DIGEST,
    published_port=20000,
    ceilings=Limits(500, 64 * MIB, 32, 128 * MIB),
    env=(("STOA_TENANT", "acme"),),
    volume="acme",
    new_volume=True,
)
SAVE = VolumeSave("acme", "snp_00000001", "", "https://x/put")
LOAD = VolumeLoad(
    INSTANCE, "acme", (VolumePart("snp_00000001", SHA, 10, "https://x/get"),), 1000, 0, 0
)
SEAT = EdgeSeat("one", "http://x", is_live=True, is_ready=True)

Act = Callable[[Any], object]
HOST: dict[str, Callable[[RemoteDriver], object]] = {
    "ensure_running": lambda d: d.ensure_running(SPEC, fence=FENCE),
    "ensure_stopped": lambda d: d.ensure_stopped(INSTANCE, fence=FENCE, grace_seconds=5.0),
    "ensure_absent": lambda d: d.ensure_absent(
        INSTANCE, fence=FENCE, volume=VolumeFate.DELETE, grace_seconds=5.0
    ),
    "status": lambda d: d.status(INSTANCE),
    "list": lambda d: d.list(),
    "logs": lambda d: d.logs(INSTANCE, lines=5),
    "samples": lambda d: d.samples(),
    "images": lambda d: d.images(),
    "ensure_image": lambda d: d.ensure_image(DIGEST, "docker://x"),
    "collect_images": lambda d: d.collect_images((DIGEST,)),
    "exec": lambda d: d.exec(INSTANCE, ("true", "x"), timeout_seconds=4.0),
    "save_volume": lambda d: d.save_volume(SAVE),
    "load_volume": lambda d: d.load_volume(LOAD, fence=FENCE),
    "volumes_here": lambda d: d.volumes_here(("acme",)),
}
EDGE: dict[str, Callable[[Any], object]] = {
    "apply": lambda c: EdgeClient(c).apply(
        [SEAT], [RouteMessage("a.localhost", "a@10.0.0.2:20000", 4, 4)]
    ),
    "in_flight": lambda c: EdgeClient(c).in_flight([SEAT], "a@10.0.0.2:20000"),
    "probe": lambda c: HostProber(c).probe([SEAT], [ProbeTarget("one", "10.0.0.2", 9797)]),
    "adopt": lambda c: HostProber(c).adopt("one", 4, keep=[INSTANCE], delete=["ins_00000002"]),
}


class Recorder:
    """Stands for the broker: keeps what is sent, and answers as it was told to."""

    def __init__(self, answer: JsonValue = None, *, is_there: bool = False) -> None:
        self.calls: list[AgentCall] = []
        self._answer, self._is_there = answer, is_there

    def ask(self, call: AgentCall) -> JsonValue:
        self.calls.append(call)
        if not self._is_there:
            raise HostUnreachableError("nobody is there")
        return self._answer

    def ask_all(
        self, calls: Sequence[AgentCall], *, seconds: float, needed: Collection[str]
    ) -> dict[str, JsonValue | RuntimeCoreError]:
        self.calls += calls
        assert {call.run_limit for call in calls} == {seconds}
        nobody = HostUnreachableError("nobody is there")
        return {call.queue: self._answer if self._is_there else nobody for call in calls}


def act(name: str, recorder: Recorder) -> object:
    """Make the call of that name."""
    if name in HOST:
        return HOST[name](RemoteDriver(recorder, "one"))  # type: ignore[arg-type]
    return EDGE[name](recorder)


def sent(name: str) -> dict[str, JsonValue]:
    """The message that the call of that name sends."""
    recorder = Recorder()
    with suppress(HostUnreachableError):
        act(name, recorder)
    (call,) = recorder.calls
    return call.message()


class Answering:
    """Stands for a driver, an adoption or an edge: keeps what it is asked, and gives back a value."""

    def __init__(self, promise: type, value: object) -> None:
        self._promise, self._value = promise, value
        self.asked: dict[str, JsonValue] = {}

    def __getattr__(self, name: str) -> Callable[..., object]:
        def answer(*args: object, **rest: object) -> object:
            bound = inspect.signature(getattr(self._promise, name)).bind(self, *args, **rest)
            bound.arguments.pop("self")
            told = {one: value for one, value in bound.arguments.items() if not callable(value)}
            self.asked = {one: to_wire(told[one]) for one in sorted(told)}
            self.asked["method"] = name
            return self._value

        return answer


STATUS = InstanceStatus(
    INSTANCE,
    ContainerState.EXITED,
    "acme",
    healthy=True,
    pid=7,
    fence=FENCE,
    exit_code=137,
    last_lines=("x",),
    troubles=(Trouble(TroubleKind.UNPLUGGED, "m"),),
)
# What each call is answered with, by the driver, the adoption or the edge.
VALUES: dict[str, object] = {
    "ensure_running": STATUS,
    "ensure_stopped": STATUS,
    "ensure_absent": None,
    "status": STATUS,
    "list": (STATUS, STATUS),
    "logs": ("a", "b"),
    "samples": (Sample(INSTANCE, 1, 2, 3, 4, 5, 6, 7, 8, 9),),
    "images": (ImageStatus(DIGEST, "x", 7, (INSTANCE,), 1.5),),
    "ensure_image": ImageStatus(DIGEST, "x", 7),
    "collect_images": (DIGEST,),
    "exec": ExecResult(3, "out"),
    "save_volume": VolumeSaved("snp_00000001", "", SHA, 10, 20, 3, 1.5, skipped=2),
    "load_volume": VolumeLoaded("acme", "snp_00000001", 20, 10),
    "volumes_here": ("acme",),
    "adopt": ("ins_00000002",),
    "apply": 4,
    "in_flight": {"a@10.0.0.2:20000": 2},
    "probe": ("one",),
    "digest": Summary(4, "d", 1),
    "resync": Summary(4, "d", 1),
}


def answered(name: str, message: JsonValue) -> tuple[dict[str, JsonValue], Envelope]:
    """What an agent is asked to do by a message, and its answer."""
    if name in {*HOST, "adopt"}:
        kind = Adoption if name == "adopt" else Driver
        does: Any = Answering(kind, VALUES[name])
        admits: Any = SimpleNamespace(admit=lambda _: None, adopt=does.adopt)
        envelope = HostCalls(does, admits).call(message)
    else:
        does = Answering(HaproxyEdge, VALUES[name])
        envelope = EdgeCalls(does, fetch=lambda _: FullTable(0, "", ())).call(message)
    return does.asked, envelope
