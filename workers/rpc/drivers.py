"""Hosts and edges as flows see them: the driver promise and route changes, carried by calls.

ENGINES says which kinds of host this control plane can drive. Each is a class with the methods of
runtime.driver.Driver; a Docker Engine or a Kubernetes driver joins here.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from runtime.edge.probe import ProbeTarget
from runtime.edge.routes import EdgeRoute
from runtime.errors import (
    HostError,
    HostOutdatedError,
    InputError,
    RuntimeCoreError,
    SpecInvalidError,
)
from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.statuses import ExecResult, ImageStatus, InstanceStatus
from runtime.units import Sample
from runtime.volume_requests import VolumeLoad, VolumeLoaded, VolumeSave, VolumeSaved
from runtime.wire import JsonValue, from_wire, to_wire
from workers.agents.common.methods import A, Args, Method, R
from workers.agents.edge import methods
from workers.agents.host import methods as host_methods
from workers.agents.host.methods import EnsureAbsent, EnsureRunning, EnsureStopped
from workers.broker import queues
from workers.rpc.client import AgentCall, Caller
from workers.rpc.edge_types import EdgeSeat, InFlight, RouteMessage, Spread


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
        body = to_wire(EnsureRunning(spec))
        args = body["spec"] if isinstance(body, dict) else None
        if not isinstance(args, dict):
            raise TypeError("a spec becomes an object")
        if spec.volume:
            # Said also where it is the default, and left out of messages: an agent that does not know
            # the word makes an empty volume for everybody, and refuses a message that has it.
            args["new_volume"] = spec.new_volume
        limit = host_methods.ENSURE_RUNNING.limit(EnsureRunning(spec))
        try:
            value = self._send(host_methods.ENSURE_RUNNING.name, {"spec": args}, limit, fence)
        except HostOutdatedError as error:
            if not spec.new_volume or "new_volume" not in error.message:
                raise
            # This shop never had data: to make it a volume is all that such an agent can do wrong.
            del args["new_volume"]
            value = self._send(host_methods.ENSURE_RUNNING.name, {"spec": args}, limit, fence)
        return from_wire(InstanceStatus, value)

    def ensure_stopped(
        self, instance_id: str, *, fence: Fence, grace_seconds: float = 10.0
    ) -> InstanceStatus:
        return self._ask(
            host_methods.ENSURE_STOPPED, EnsureStopped(instance_id, grace_seconds), fence=fence
        )

    def ensure_absent(
        self, instance_id: str, *, fence: Fence, volume: VolumeFate, grace_seconds: float = 10.0
    ) -> None:
        args = EnsureAbsent(instance_id, grace_seconds, volume)
        self._ask(host_methods.ENSURE_ABSENT, args, fence=fence)

    def status(self, instance_id: str) -> InstanceStatus:
        return self._ask(host_methods.STATUS, host_methods.OfInstance(instance_id))

    def list(self) -> tuple[InstanceStatus, ...]:
        return self._ask(host_methods.LIST, Args())

    def logs(self, instance_id: str, *, lines: int = 100) -> tuple[str, ...]:
        return (
            self._ask(host_methods.LOGS, host_methods.Logs(instance_id, lines)) if lines > 0 else ()
        )

    def samples(self) -> tuple[Sample, ...]:
        return self._ask(host_methods.SAMPLES, Args())

    def images(self) -> tuple[ImageStatus, ...]:
        return self._ask(host_methods.IMAGES, Args())

    def ensure_image(self, digest: str, source: str = "") -> ImageStatus:
        return self._ask(host_methods.ENSURE_IMAGE, host_methods.EnsureImage(digest, source))

    def collect_images(self, keep: tuple[str, ...]) -> tuple[str, ...]:
        return self._ask(host_methods.COLLECT_IMAGES, host_methods.CollectImages(keep))

    def exec(
        self, instance_id: str, argv: tuple[str, ...], *, timeout_seconds: float = 30.0
    ) -> ExecResult:
        if not argv:
            raise InputError("exec needs a command to run")
        return self._ask(host_methods.EXEC, host_methods.Exec(instance_id, argv, timeout_seconds))

    def save_volume(self, save: VolumeSave) -> VolumeSaved:
        return self._ask(host_methods.SAVE_VOLUME, host_methods.SaveVolume(save))

    def load_volume(self, load: VolumeLoad, *, fence: Fence) -> VolumeLoaded:
        return self._ask(host_methods.LOAD_VOLUME, host_methods.LoadVolume(load), fence=fence)

    def volumes_here(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return self._ask(host_methods.VOLUMES_HERE, host_methods.WhichVolumes(names))

    def _ask(self, method: Method[A, R], args: A, *, fence: Fence | None = None) -> R:
        value = self._send(method.name, _body(args), method.limit(args), fence)
        return from_wire(method.result, value)

    def _send(
        self, name: str, args: dict[str, JsonValue], run_limit: float, fence: Fence | None
    ) -> JsonValue:
        pair = (fence.epoch, fence.number) if fence else None
        try:
            return self._caller.ask(AgentCall(self._queue, name, args, run_limit, pair))
        except SpecInvalidError as error:
            if not _is_of_older_agent(error):
                raise
            raise HostOutdatedError(
                f"the agent of host {self._host_name} is older than this control plane and does not know"
                f" what was asked, so nothing was done: update the host's agent ({error.message[:300]})"
            ) from error


def _is_of_older_agent(error: SpecInvalidError) -> bool:
    """Return whether an agent refused a call, a field or a protocol because it has never heard of it."""
    return error.details.get("field") in {"call", "v"} or " has the unknown field " in error.message


def _body(args: Args) -> dict[str, JsonValue]:
    body = to_wire(args)
    if not isinstance(body, dict):
        raise TypeError("arguments become an object")
    return body


ENGINES: dict[str, Callable[[Caller, str], RemoteDriver]] = {"crun": RemoteDriver}


def for_host(caller: Caller, *, name: str, engine: str) -> RemoteDriver:
    """Return the driver of a host; HostError names an engine that this control plane cannot drive."""
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
        """Send the changes to every live edge and wait a few seconds for the ready ones.

        An edge that is not live is left out: it fetches the whole table when it comes back.
        """
        args = methods.Apply(
            tuple(
                EdgeRoute(route.hostname, route.value, route.version, route.sequence)
                for route in routes
            )
        )
        names = {queues.edge_queue(edge.name): edge for edge in edges if edge.is_live}
        ready = {queue for queue, edge in names.items() if edge.is_ready}
        answers, failed = _ask_all(self._caller, methods.APPLY, args, names, ready)
        refused = {q: error for q, error in failed.items() if isinstance(error, SpecInvalidError)}
        return Spread(
            frozenset(names[queue].name for queue in answers),
            _sentences(names, failed),
            _sentences(names, refused),
        )

    def in_flight(self, edges: Collection[EdgeSeat], value: str) -> InFlight:
        """Return how many requests the ready edges have handed to a route's value and not finished yet."""
        ready = {queues.edge_queue(edge.name): edge for edge in edges if edge.is_ready}
        args = methods.CountInFlight((value,))
        answers, failed = _ask_all(self._caller, methods.IN_FLIGHT, args, ready, set(ready))
        counts = [_count(answer, value) for answer in answers.values()]
        unclear = tuple(
            f"edge {ready[queue].name}: its count of requests is not understood"
            for queue, count in zip(answers, counts, strict=True)
            if count is None
        )
        return InFlight(sum(count or 0 for count in counts), _sentences(ready, failed) + unclear)


def _ask_all(
    caller: Caller, method: Method[A, Any], args: A, queues_: Collection[str], needed: set[str]
) -> tuple[dict[str, JsonValue], dict[str, RuntimeCoreError]]:
    """Return what each queue answered, and what went wrong at those that are needed."""
    limit = method.limit(args)
    asked = [AgentCall(queue, method.name, _body(args), limit) for queue in queues_]
    if not asked:
        return {}, {}
    answers = caller.ask_all(asked, seconds=limit, needed=needed)
    failed = {q: a for q, a in answers.items() if isinstance(a, RuntimeCoreError)}
    return (
        {q: a for q, a in answers.items() if not isinstance(a, RuntimeCoreError)},
        {q: error for q, error in failed.items() if q in needed},
    )


def _sentences(
    names: Mapping[str, EdgeSeat], failed: Mapping[str, RuntimeCoreError]
) -> tuple[str, ...]:
    return tuple(f"edge {names[q].name}: {error.message}" for q, error in sorted(failed.items()))


def _count(answer: JsonValue, value: str) -> int | None:
    """Return what an edge says of a value; nothing is believed that is not a number."""
    found = answer.get(value) if isinstance(answer, dict) else None
    return found if type(found) is int and found >= 0 else None


class HostProber:
    """Asks edges whether hosts can be reached, and adopts hosts that come back
    (workers/reconcilers/host_health.py).
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def probe(
        self, edges: Collection[EdgeSeat], places: Sequence[ProbeTarget]
    ) -> dict[str, set[str]]:
        """Return which hosts each ready edge could connect to; an edge that did not answer is left out."""
        args = methods.ProbeHosts(tuple(places))
        names = {queues.edge_queue(edge.name): edge.name for edge in edges if edge.is_ready}
        answers, _ = _ask_all(self._caller, methods.PROBE, args, names, set(names))
        reached: dict[str, set[str]] = {}
        for queue, answer in answers.items():
            # One that talks nonsense is as good as one that is silent.
            with suppress(RuntimeCoreError):
                reached[names[queue]] = set(from_wire(methods.PROBE.result, answer).reached)
        return reached

    def adopt(
        self, host: str, epoch: int, *, keep: Sequence[str], delete: Sequence[str]
    ) -> tuple[str, ...]:
        """Make a host stop all but `keep`, then know the epoch; what it stopped. delete: also their data."""
        args, method = host_methods.Adopt(epoch, tuple(keep), tuple(delete)), host_methods.ADOPT
        call = AgentCall(queues.host_queue(host), method.name, _body(args), method.limit(args))
        return from_wire(method.result, self._caller.ask(call)).stopped
