"""Hosts and edges as flows see them: the driver promise and route changes, carried by calls.

ENGINES says which kinds of host this control plane can drive. Each is a class with the methods of
runtime.driver.Driver; a Docker Engine or a Kubernetes driver joins here.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from runtime.driver import (
    ExecResult,
    Fence,
    ImageStatus,
    InstanceSpec,
    InstanceStatus,
    VolumeFate,
    VolumeLoad,
    VolumeLoaded,
    VolumeSave,
    VolumeSaved,
)
from runtime.edge.probe import Place
from runtime.errors import (
    HostError,
    HostOutdatedError,
    InputError,
    RuntimeCoreError,
    SpecInvalidError,
)
from runtime.units import Sample
from runtime.wire import JsonValue, from_wire, to_wire
from tenants.limits import EDGE_SECONDS, FETCH_SECONDS, SPARE_SECONDS, VOLUME_SECONDS
from workers import queues
from workers.calls import Answers, Call, Caller
from workers.edges import EdgeSeat, InFlight, RouteMessage, Spread

LOOK_SECONDS = 5.0  # calls that only read
COLLECT_SECONDS = 120.0  # a host that removes images
ADOPT_SECONDS = 60.0  # a host that may have many shops to end


@dataclass(frozen=True, slots=True)
class _Reached:
    reached: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Stopped:
    stopped: tuple[str, ...]


class RemoteDriver:
    """A host driven through its agent's queue."""

    def __init__(self, caller: Caller, host_name: str) -> None:
        self._caller = caller
        self._host_name = host_name
        self._queue = queues.host_queue(host_name)

    def ensure_running(self, spec: InstanceSpec, *, fence: Fence) -> InstanceStatus:
        """See Driver.ensure_running; HostOutdatedError when the host's agent would make an empty volume
        for a shop that may have data.
        """
        told = to_wire(spec)
        if not isinstance(told, dict):
            raise TypeError("a spec becomes an object")
        if spec.volume:
            # Said also where it is the default, and left out of messages: an agent that does not know
            # the word makes an empty volume for everybody, and refuses a message that has it.
            told["new_volume"] = spec.new_volume
        try:
            return self._run(spec, told, fence)
        except HostOutdatedError as error:
            if not spec.new_volume or "new_volume" not in error.message:
                raise
            # This shop never had data: to make it a volume is all that such an agent can do wrong.
            del told["new_volume"]
            return self._run(spec, told, fence)

    def _run(self, spec: InstanceSpec, told: JsonValue, fence: Fence) -> InstanceStatus:
        value = self._ask(
            "ensure_running",
            {"spec": told},
            run_limit=spec.health_timeout_seconds + SPARE_SECONDS,
            fence=fence,
        )
        return from_wire(InstanceStatus, value)

    def ensure_stopped(
        self, instance_id: str, *, fence: Fence, grace_seconds: float = 10.0
    ) -> InstanceStatus:
        value = self._ask(
            "ensure_stopped",
            {"instance_id": instance_id, "grace_seconds": grace_seconds},
            run_limit=grace_seconds + SPARE_SECONDS,
            fence=fence,
        )
        return from_wire(InstanceStatus, value)

    def ensure_absent(
        self, instance_id: str, *, fence: Fence, volume: VolumeFate, grace_seconds: float = 10.0
    ) -> None:
        self._ask(
            "ensure_absent",
            {
                "instance_id": instance_id,
                "volume": volume.value,
                "grace_seconds": grace_seconds,
            },
            run_limit=grace_seconds + SPARE_SECONDS,
            fence=fence,
        )

    def status(self, instance_id: str) -> InstanceStatus:
        return from_wire(InstanceStatus, self._ask("status", {"instance_id": instance_id}))

    def list(self) -> tuple[InstanceStatus, ...]:
        return from_wire(tuple[InstanceStatus, ...], self._ask("list", {}))

    def logs(self, instance_id: str, *, lines: int = 100) -> tuple[str, ...]:
        if lines <= 0:
            return ()
        value = self._ask("logs", {"instance_id": instance_id, "lines": lines})
        return from_wire(tuple[str, ...], value)

    def samples(self) -> tuple[Sample, ...]:
        return from_wire(tuple[Sample, ...], self._ask("samples", {}, run_limit=SPARE_SECONDS))

    def images(self) -> tuple[ImageStatus, ...]:
        return from_wire(tuple[ImageStatus, ...], self._ask("images", {}))

    def ensure_image(self, digest: str, source: str = "") -> ImageStatus:
        value = self._ask(
            "ensure_image", {"digest": digest, "source": source}, run_limit=FETCH_SECONDS
        )
        return from_wire(ImageStatus, value)

    def collect_images(self, keep: tuple[str, ...]) -> tuple[str, ...]:
        value = self._ask("collect_images", {"keep": [*keep]}, run_limit=COLLECT_SECONDS)
        return from_wire(tuple[str, ...], value)

    def exec(
        self, instance_id: str, argv: tuple[str, ...], *, timeout_seconds: float = 30.0
    ) -> ExecResult:
        if not argv:
            raise InputError("exec needs a command to run")
        value = self._ask(
            "exec",
            {
                "instance_id": instance_id,
                "argv": [*argv],
                "timeout_seconds": timeout_seconds,
            },
            run_limit=timeout_seconds + SPARE_SECONDS,
        )
        return from_wire(ExecResult, value)

    def save_volume(self, save: VolumeSave) -> VolumeSaved:
        value = self._ask("save_volume", {"save": to_wire(save)}, run_limit=VOLUME_SECONDS)
        return from_wire(VolumeSaved, value)

    def load_volume(self, load: VolumeLoad, *, fence: Fence) -> VolumeLoaded:
        value = self._ask(
            "load_volume", {"load": to_wire(load)}, run_limit=VOLUME_SECONDS, fence=fence
        )
        return from_wire(VolumeLoaded, value)

    def volumes_here(self, names: tuple[str, ...]) -> tuple[str, ...]:
        value = self._ask("volumes_here", {"names": [*names]})
        return from_wire(tuple[str, ...], value)

    def _ask(
        self,
        name: str,
        args: dict[str, JsonValue],
        *,
        run_limit: float = LOOK_SECONDS,
        fence: Fence | None = None,
    ) -> JsonValue:
        pair = (fence.epoch, fence.number) if fence else None
        try:
            return self._caller.ask(Call(self._queue, name, args, run_limit, pair))
        except SpecInvalidError as error:
            if not _is_of_older_agent(error):
                raise
            raise HostOutdatedError(
                f"the agent of host {self._host_name} is older than this control plane and does not know"
                f" what was asked, so nothing was done: update the host's agent ({error.message[:300]})"
            ) from error


def _is_of_older_agent(error: SpecInvalidError) -> bool:
    """Whether an agent refused a call, a field or a protocol because it has never heard of it."""
    return error.details.get("field") in {"call", "v"} or " has the unknown field " in error.message


ENGINES: dict[str, Callable[[Caller, str], RemoteDriver]] = {"crun": RemoteDriver}


def for_host(caller: Caller, *, name: str, engine: str) -> RemoteDriver:
    """The driver of a host; HostError names an engine that this control plane cannot drive."""
    try:
        return ENGINES[engine](caller, name)
    except KeyError:
        known = ", ".join(sorted(ENGINES))
        raise HostError(f"host {name} has the engine {engine!r}; known are {known}") from None


class EdgeClient:
    """Tells edges about routes, all at once."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def apply(self, edges: Collection[EdgeSeat], routes: Sequence[RouteMessage]) -> Spread:
        """Send the changes to every live edge and wait for the ready ones, EDGE_SECONDS at most.

        An edge that is not live is left out: it fetches the whole table when it comes back.
        """
        args: dict[str, JsonValue] = {"routes": [asdict(route) for route in routes]}
        names = {queues.edge_queue(edge.name): edge for edge in edges if edge.is_live}
        ready = {queue for queue, edge in names.items() if edge.is_ready}
        answers, failed = self._ask(names, ready, "apply", args)
        refused = {q: error for q, error in failed.items() if isinstance(error, SpecInvalidError)}
        return Spread(
            frozenset(names[queue].name for queue in answers),
            _sentences(names, failed),
            _sentences(names, refused),
        )

    def in_flight(self, edges: Collection[EdgeSeat], value: str) -> InFlight:
        """How many requests the ready edges have handed to a route's value and not finished yet."""
        ready = {queues.edge_queue(edge.name): edge for edge in edges if edge.is_ready}
        answers, failed = self._ask(ready, set(ready), "in_flight", {"values": [value]})
        counts = [_count(answer, value) for answer in answers.values()]
        unclear = tuple(
            f"edge {ready[queue].name}: its count of requests is not understood"
            for queue, count in zip(answers, counts, strict=True)
            if count is None
        )
        return InFlight(sum(count or 0 for count in counts), _sentences(ready, failed) + unclear)

    def _ask(
        self,
        names: Mapping[str, EdgeSeat],
        ready: set[str],
        what: str,
        args: dict[str, JsonValue],
    ) -> tuple[dict[str, JsonValue], dict[str, RuntimeCoreError]]:
        """What each queue answered, and what went wrong at those that serve."""
        calls = [Call(queue, what, args, EDGE_SECONDS) for queue in names]
        if not calls:
            return {}, {}
        answers: Answers = self._caller.ask_all(calls, seconds=EDGE_SECONDS, needed=ready)
        failed = {q: a for q, a in answers.items() if isinstance(a, RuntimeCoreError)}
        return (
            {q: a for q, a in answers.items() if not isinstance(a, RuntimeCoreError)},
            {q: error for q, error in failed.items() if q in ready},
        )


def _sentences(
    names: Mapping[str, EdgeSeat], failed: Mapping[str, RuntimeCoreError]
) -> tuple[str, ...]:
    return tuple(f"edge {names[q].name}: {error.message}" for q, error in sorted(failed.items()))


def _count(answer: JsonValue, value: str) -> int | None:
    """What an edge says of a value; nothing is believed that is not a number."""
    found = answer.get(value) if isinstance(answer, dict) else None
    return found if type(found) is int and found >= 0 else None


class Reach:
    """Asks edges whether hosts can be reached, and adopts hosts that come back (workers/health.py)."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def probe(self, edges: Collection[EdgeSeat], places: Sequence[Place]) -> dict[str, set[str]]:
        """Which hosts each ready edge could connect to; an edge that did not answer is left out."""
        args: dict[str, JsonValue] = {"places": [asdict(place) for place in places]}
        names = {queues.edge_queue(edge.name): edge.name for edge in edges if edge.is_ready}
        asked = [Call(queue, "probe", args, EDGE_SECONDS) for queue in names]
        if not asked:
            return {}
        answers = self._caller.ask_all(asked, seconds=EDGE_SECONDS, needed=names)
        reached: dict[str, set[str]] = {}
        for queue, answer in answers.items():
            # One that talks nonsense is as good as one that is silent.
            with suppress(RuntimeCoreError):
                if not isinstance(answer, RuntimeCoreError):
                    reached[names[queue]] = set(from_wire(_Reached, answer).reached)
        return reached

    def adopt(
        self, host: str, epoch: int, *, keep: Sequence[str], delete: Sequence[str]
    ) -> tuple[str, ...]:
        """Make a host stop all but `keep`, then know the epoch; what it stopped. delete: also their data."""
        args: dict[str, JsonValue] = {"epoch": epoch, "keep": [*keep], "delete": [*delete]}
        call = Call(queues.host_queue(host), "adopt", args, ADOPT_SECONDS)
        return from_wire(_Stopped, self._caller.ask(call)).stopped
