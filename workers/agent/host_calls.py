"""The calls a host answers: each is one driver method, with the caller's run limit passed down.

A pool of threads cannot end a task that takes too long, so the limit has to bound the waiting inside.
"""

from dataclasses import dataclass, field
from typing import TypeVar

from runtime.driver import Driver, Fence, InstanceSpec, VolumeFate, VolumeLoad, VolumeSave
from runtime.errors import SpecInvalidError
from runtime.ids import check_digest, check_instance_id, check_slug
from runtime.wire import LATER, from_wire
from workers.agent.adoption import Adoption
from workers.agent.messages import CallMessage
from workers.agent.verbs import Calls

LOG_LINES_CEILING = 10_000
_SPARE_SECONDS = 1.0  # of a run limit, for everything but the waiting


@dataclass(frozen=True, slots=True)
class _Nothing:
    pass


@dataclass(frozen=True, slots=True)
class _Run:
    spec: InstanceSpec


@dataclass(frozen=True, slots=True)
class _Stop:
    instance_id: str
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class _Remove:
    instance_id: str
    volume: VolumeFate
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class _Adopt:
    epoch: int
    keep: tuple[str, ...]
    delete: tuple[str, ...] = field(default=(), metadata=LATER)


@dataclass(frozen=True, slots=True)
class _Look:
    instance_id: str


@dataclass(frozen=True, slots=True)
class _Logs:
    instance_id: str
    lines: int


@dataclass(frozen=True, slots=True)
class _Exec:
    instance_id: str
    argv: tuple[str, ...]
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class _Image:
    digest: str
    source: str


@dataclass(frozen=True, slots=True)
class _Collect:
    keep: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Save:
    save: VolumeSave


@dataclass(frozen=True, slots=True)
class _Volumes:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Load:
    load: VolumeLoad


_Args = TypeVar("_Args")


class HostCalls(Calls):
    """Answers calls with a driver. Thread-safe when the driver is."""

    def __init__(self, driver: Driver, adoption: Adoption | None = None) -> None:
        self._driver = driver
        self._adoption = adoption
        super().__init__(
            "host.call",
            {
                "ensure_running": self._ensure_running,
                "ensure_stopped": self._ensure_stopped,
                "ensure_absent": self._ensure_absent,
                "adopt": self._adopt,
                "status": self._status,
                "list": self._list,
                "logs": self._logs,
                "samples": self._samples,
                "images": self._images,
                "ensure_image": self._ensure_image,
                "collect_images": self._collect_images,
                "exec": self._exec,
                "save_volume": self._save_volume,
                "load_volume": self._load_volume,
                "volumes_here": self._volumes_here,
            },
        )

    def _ensure_running(self, call: CallMessage) -> object:
        spec = _args(_Run, call).spec
        spec.check()
        # The spec is not shortened to the limit: another spec would replace a container that runs well.
        if spec.health_timeout_seconds > call.run_limit:
            raise SpecInvalidError(
                f"run_limit is {call.run_limit:g} s; it must be at least the spec's "
                f"health_timeout_seconds of {spec.health_timeout_seconds:g}",
                field="run_limit",
            )
        return self._driver.ensure_running(spec, fence=self._admitted(call))

    def _ensure_stopped(self, call: CallMessage) -> object:
        args = _args(_Stop, call)
        return self._driver.ensure_stopped(
            check_instance_id(args.instance_id),
            fence=self._admitted(call),
            grace_seconds=_within(args.grace_seconds, call),
        )

    def _ensure_absent(self, call: CallMessage) -> object:
        args = _args(_Remove, call)
        self._driver.ensure_absent(
            check_instance_id(args.instance_id),
            fence=self._admitted(call),
            volume=args.volume,
            grace_seconds=_within(args.grace_seconds, call),
        )
        return None

    def _adopt(self, call: CallMessage) -> object:
        args = _args(_Adopt, call)
        if self._adoption is None or args.epoch < 1:
            raise SpecInvalidError(f"epoch is {args.epoch}; it must be 1 or more", field="epoch")
        for instance_id in (*args.keep, *args.delete):
            check_instance_id(instance_id)
        stopped = self._adoption.adopt(args.epoch, keep=args.keep, delete=args.delete)
        return {"stopped": [*stopped]}

    def _admitted(self, call: CallMessage) -> Fence:
        """The call's fence, of this life of the host; StaleFenceError or HostError otherwise."""
        fence = call.needed_fence()
        if self._adoption is not None:
            self._adoption.admit(fence)
        return fence

    def _status(self, call: CallMessage) -> object:
        return self._driver.status(check_instance_id(_args(_Look, call).instance_id))

    def _list(self, call: CallMessage) -> object:
        _args(_Nothing, call)
        return self._driver.list()

    def _logs(self, call: CallMessage) -> object:
        args = _args(_Logs, call)
        if not 1 <= args.lines <= LOG_LINES_CEILING:
            raise SpecInvalidError(
                f"lines is {args.lines}; it must be 1 to {LOG_LINES_CEILING}", field="lines"
            )
        return self._driver.logs(check_instance_id(args.instance_id), lines=args.lines)

    def _samples(self, call: CallMessage) -> object:
        _args(_Nothing, call)
        return self._driver.samples()

    def _images(self, call: CallMessage) -> object:
        _args(_Nothing, call)
        return self._driver.images()

    def _ensure_image(self, call: CallMessage) -> object:
        args = _args(_Image, call)
        return self._driver.ensure_image(check_digest(args.digest), args.source)

    def _collect_images(self, call: CallMessage) -> object:
        return self._driver.collect_images(_args(_Collect, call).keep)

    def _exec(self, call: CallMessage) -> object:
        args = _args(_Exec, call)
        if not args.argv:
            raise SpecInvalidError("argv is empty; it must name a program", field="argv")
        return self._driver.exec(
            check_instance_id(args.instance_id),
            args.argv,
            timeout_seconds=_within(args.timeout_seconds, call),
        )

    def _save_volume(self, call: CallMessage) -> object:
        return self._driver.save_volume(_args(_Save, call).save)

    def _load_volume(self, call: CallMessage) -> object:
        load = _args(_Load, call).load
        return self._driver.load_volume(load, fence=self._admitted(call))

    def _volumes_here(self, call: CallMessage) -> object:
        names = _args(_Volumes, call).names
        return self._driver.volumes_here(tuple(check_slug(name) for name in names))


def _args(kind: type[_Args], call: CallMessage) -> _Args:
    return from_wire(kind, call.args)


def _within(seconds: float, call: CallMessage) -> float:
    """A waiting time no longer than the call's run limit allows."""
    if seconds < 0:
        raise SpecInvalidError(
            f"a time of {seconds:g} s was given; it must be 0 or more", field="args"
        )
    return min(seconds, max(0.0, call.run_limit - _SPARE_SECONDS))
