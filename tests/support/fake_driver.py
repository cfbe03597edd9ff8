"""FakeDriver: a host in memory that keeps every promise of the driver protocol and runs nothing.

Flows, sweeps and scenarios are tested against it. It can be told to fail, once per telling.
"""

import builtins
import itertools
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from ipaddress import IPv4Address
from threading import RLock
from typing import Concatenate, ParamSpec, TypeVar

from runtime.errors import (
    DataMissingError,
    ExitedError,
    ImageUnknownError,
    InputError,
    LimitInUseError,
    OutcomeUnknownError,
    RuntimeCoreError,
    SpecInvalidError,
    StaleFenceError,
    UnhealthyError,
)
from runtime.ids import check_digest, check_instance_id
from runtime.specs import NO_FENCE, Fence, InstanceSpec, VolumeFate
from runtime.statuses import ContainerState, ExecResult, ImageStatus, InstanceStatus
from runtime.units import Sample
from runtime.volume_requests import VolumeLoad, VolumeLoaded, VolumeSave, VolumeSaved
from tests.support.fake_volumes import FakeVolumes, Files

_MEMORY_BYTES = 8_000_000
_FIRST_ADDRESS = IPv4Address("100.96.1.0")


P = ParamSpec("P")
R = TypeVar("R")


def _answered(
    method: Callable[Concatenate["FakeDriver", P], R],
) -> Callable[Concatenate["FakeDriver", P], R]:
    """Let a call that has done its work lose its answer where lose_answer says so."""

    @wraps(method)
    def answered(driver: "FakeDriver", /, *args: P.args, **kwargs: P.kwargs) -> R:
        value = method(driver, *args, **kwargs)
        driver.count_answer(method.__name__)
        return value

    return answered


@dataclass(slots=True)
class _Held:
    spec: InstanceSpec
    status: InstanceStatus
    began: float
    log: builtins.list[str]


class FakeDriver:
    """Implements runtime.driver.Driver in memory. Safe to share between threads.

    images: the digests this host holds, None for any. calls: what was asked, as (call, instance id).
    volumes: names of the volumes that exist; contents: their files, written by tests as a tenant would.
    sources: the digests that can be fetched; kept: what
    collect_images was last told to keep; young: digests somebody asked for lately.
    """

    def __init__(self, images: frozenset[str] | None = None) -> None:
        self.sources: set[str] = set()
        self.kept: tuple[str, ...] = ()
        self.young: set[str] = set()
        self.calls: builtins.list[tuple[str, str]] = []
        self.volumes: set[str] = set()
        self._stored = FakeVolumes()
        self._loaded_for: dict[str, str] = {}
        self._images = images
        self._held: dict[str, _Held] = {}
        self._fences: dict[str, Fence] = {}
        self._failures: defaultdict[str, deque[RuntimeCoreError]] = defaultdict(deque)
        self._answers: Counter[str] = Counter()
        self._lost: defaultdict[str, builtins.list[int]] = defaultdict(builtins.list)
        self._pids = itertools.count(1000)
        self._lock = RLock()

    @property
    def contents(self) -> "defaultdict[str, Files]":
        """The files of each volume by path."""
        return self._stored.contents

    def fail_next(self, call: str, error: RuntimeCoreError) -> None:
        """Let the next call of that name raise the error; several tellings are used up in order.

        ExitedError and UnhealthyError leave the instance ended or unwell, as on a real host; any other
        error is raised before anything happens.
        """
        self._failures[call].append(error)

    def lose_answer(self, call: str, *, nth: int = 1) -> None:
        """Let the nth call of that name from now on do its work and then raise OutcomeUnknownError."""
        self._lost[call].append(self._answers[call] + nth)

    def end(self, instance_id: str, *, exit_code: int) -> None:
        """Let a running container end by itself, as a crash would, without the keeper's restart."""
        held = self._held[instance_id]
        held.began = time.monotonic()
        held.status = replace(
            held.status,
            state=ContainerState.EXITED,
            healthy=False,
            pid=0,
            exit_code=exit_code,
            last_lines=tuple(held.log[-10:]),
        )

    @_answered
    def ensure_running(self, spec: InstanceSpec, *, fence: Fence) -> InstanceStatus:
        """See Driver.ensure_running."""
        spec.check()
        with self._lock:
            failure = self._begin("ensure_running", spec.instance_id)
            self._admit(spec.instance_id, fence)
            self._check_image(spec.image_digest)
            self._check_port(spec)
            held = self._held.get(spec.instance_id)
            if held and held.status.healthy and _is_adjustable(held.spec, spec):
                _check_memory(spec)
                held.spec = replace(spec, new_volume=False)
                held.status = replace(held.status, fence=fence)
                return self._shown(held)
            if spec.volume:
                if not spec.new_volume:
                    self._check_volume(spec.volume)
                self.volumes.add(spec.volume)
                self._stored.begin_to_run(spec.volume)
            spec = replace(spec, new_volume=False)
            self._held[spec.instance_id] = held = self._started(spec, fence)
            if failure:
                self._go_wrong(held, failure)
            return self._shown(held)

    @_answered
    def ensure_stopped(
        self, instance_id: str, *, fence: Fence, grace_seconds: float = 10.0
    ) -> InstanceStatus:
        """See Driver.ensure_stopped."""
        with self._lock:
            self._begin("ensure_stopped", instance_id)
            self._admit(instance_id, fence)
            held = self._held.get(instance_id)
            if held and held.status.state is not ContainerState.EXITED:
                self.end(instance_id, exit_code=143)
            return self.status(instance_id)

    @_answered
    def ensure_absent(
        self, instance_id: str, *, fence: Fence, volume: VolumeFate, grace_seconds: float = 10.0
    ) -> None:
        """See Driver.ensure_absent."""
        with self._lock:
            self._begin("ensure_absent", instance_id)
            self._admit(instance_id, fence)
            held = self._held.pop(instance_id, None)
            loaded = self._loaded_for.pop(instance_id, "")
            if volume is VolumeFate.DELETE:
                name = held.spec.volume if held else loaded
                self.volumes.discard(name)
                self._stored.forget(name)

    def status(self, instance_id: str) -> InstanceStatus:
        """See Driver.status."""
        with self._lock:
            held = self._held.get(check_instance_id(instance_id))
            if held:
                return self._shown(held)
            fence = self._fences.get(instance_id, NO_FENCE)
            return InstanceStatus(instance_id, ContainerState.ABSENT, fence=fence)

    def list(self) -> tuple[InstanceStatus, ...]:
        """See Driver.list."""
        with self._lock:
            self._begin("list", "")
            return tuple(self._shown(self._held[one]) for one in sorted(self._held))

    def logs(self, instance_id: str, *, lines: int = 100) -> tuple[str, ...]:
        """See Driver.logs."""
        with self._lock:
            held = self._held.get(check_instance_id(instance_id))
            return tuple(held.log[-lines:]) if held and lines > 0 else ()

    def samples(self) -> tuple[Sample, ...]:
        """See Driver.samples; the numbers are the same for every instance."""
        with self._lock:
            self._begin("samples", "")
            return tuple(
                _sample(held.spec.instance_id, time.monotonic() - held.began)
                for _one, held in sorted(self._held.items())
                if held.status.state is ContainerState.RUNNING
            )

    def images(self) -> tuple[ImageStatus, ...]:
        """See Driver.images."""
        with self._lock:
            used: defaultdict[str, builtins.list[str]] = defaultdict(builtins.list)
            for one, held in sorted(self._held.items()):
                used[held.spec.image_digest].append(one)
            digests = sorted(self._images if self._images is not None else used)
            return tuple(
                ImageStatus(digest, "fake", 1_000_000, tuple(used[digest])) for digest in digests
            )

    @_answered
    def ensure_image(self, digest: str, source: str = "") -> ImageStatus:
        """See Driver.ensure_image."""
        check_digest(digest)
        with self._lock:
            self._begin("ensure_image", digest)
            self._check_image(digest)
            found = [one for one in self.images() if one.digest == digest]
            return found[0] if found else ImageStatus(digest, "fake", 1_000_000)

    def collect_images(self, keep: tuple[str, ...]) -> tuple[str, ...]:
        """See Driver.collect_images."""
        for digest in keep:
            check_digest(digest)
        with self._lock:
            self._begin("collect_images", "")
            self.kept = keep
            needed = {*keep, *self.young, *(held.spec.image_digest for held in self._held.values())}
            gone = tuple(sorted((self._images or frozenset()) - needed))
            if self._images is not None:
                self._images -= set(gone)
            return gone

    def exec(
        self, instance_id: str, argv: tuple[str, ...], *, timeout_seconds: float = 30.0
    ) -> ExecResult:
        """See Driver.exec; the output is the command itself, as echo would give it."""
        if not argv:
            raise InputError("exec needs a command to run")
        with self._lock:
            self._begin("exec", instance_id)
            if self.status(instance_id).state is not ContainerState.RUNNING:
                raise InputError(f"{instance_id} does not run here; exec needs a running container")
            return ExecResult(exit_code=0, output=" ".join(argv) + "\n")

    @_answered
    def save_volume(self, save: VolumeSave) -> VolumeSaved:
        """See Driver.save_volume."""
        save.check()
        with self._lock:
            self._begin("save_volume", save.volume)
            self._check_volume(save.volume)
            return self._stored.save(save)

    @_answered
    def load_volume(self, load: VolumeLoad, *, fence: Fence) -> VolumeLoaded:
        """See Driver.load_volume."""
        load.check()
        with self._lock:
            self._begin("load_volume", load.instance_id)
            self._admit(load.instance_id, fence)
            if any(
                held.spec.volume == load.volume and held.status.pid for held in self._held.values()
            ):
                raise InputError(f"volume {load.volume} is in use by a container that runs here")
            if load.only_missing and load.volume in self.volumes:
                return VolumeLoaded(load.volume, "", 0, 0)
            if load.volume not in self.volumes:
                self._stored.begin_to_run(load.volume)  # whatever was noted of it is gone
            self._loaded_for[load.instance_id] = load.volume
            loaded = self._stored.load(load)
            self.volumes.add(load.volume)
            return loaded

    def volumes_here(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """See Driver.volumes_here."""
        with self._lock:
            self._begin("volumes_here", "")
            return tuple(one for one in names if one in self.volumes)

    def _check_volume(self, name: str) -> None:
        if name not in self.volumes:
            raise DataMissingError(f"volume {name}: it is not on this host")

    def count_answer(self, call: str) -> None:
        """Note that a call has done its work; raise where its answer is to be lost."""
        self._answers[call] += 1
        if self._answers[call] in self._lost[call]:
            raise OutcomeUnknownError(f"the answer to {call} did not come")

    def _begin(self, call: str, instance_id: str) -> RuntimeCoreError | None:
        """Note the call; raise the failure it was told, or return one that happens after the start."""
        self.calls.append((call, instance_id))
        if not self._failures[call]:
            return None
        failure = self._failures[call].popleft()
        if isinstance(failure, ExitedError | UnhealthyError):
            return failure
        raise failure

    def _admit(self, instance_id: str, fence: Fence) -> None:
        highest = self._fences.get(check_instance_id(instance_id), NO_FENCE)
        if fence < highest:
            raise StaleFenceError(
                f"fence {fence.epoch}.{fence.number} of {instance_id} is older than "
                f"{highest.epoch}.{highest.number}, which this host has seen",
                instance_id=instance_id,
            )
        self._fences[instance_id] = fence

    def _check_image(self, digest: str) -> None:
        """Have the image, fetched now where it is not there yet."""
        if self._images is None or digest in self._images:
            return
        if digest not in self.sources:
            raise ImageUnknownError(f"this host does not hold the image {digest}")
        self._images |= {digest}
        self.young.add(digest)

    def _check_port(self, spec: InstanceSpec) -> None:
        for one, held in self._held.items():
            if one != spec.instance_id and held.spec.published_port == spec.published_port:
                raise SpecInvalidError(
                    f"published_port {spec.published_port} belongs to {one}; choose another",
                    field="published_port",
                )

    def _started(self, spec: InstanceSpec, fence: Fence) -> _Held:
        status = InstanceStatus(
            instance_id=spec.instance_id,
            state=ContainerState.RUNNING,
            tenant=spec.tenant,
            healthy=True,
            pid=next(self._pids),
            address=str(_FIRST_ADDRESS + spec.published_port % 60_000),
            published_port=spec.published_port,
            image_digest=spec.image_digest,
            fence=fence,
            timings_ms={"total": 0.0},
        )
        return _Held(spec, status, time.monotonic(), [_line("out", "started")])

    def _go_wrong(self, held: _Held, failure: RuntimeCoreError) -> None:
        if isinstance(failure, ExitedError):
            code = failure.details.get("exit_code")
            said = failure.details.get("log_lines")
            held.log += [_line("err", str(one)) for one in said] if isinstance(said, list) else []
            self.end(held.spec.instance_id, exit_code=code if isinstance(code, int) else 1)
        else:
            held.status = replace(held.status, healthy=False)
        raise failure

    def _shown(self, held: _Held) -> InstanceStatus:
        age = time.monotonic() - held.began
        fence = self._fences[held.spec.instance_id]
        return replace(held.status, age_seconds=age, fence=fence)


def _is_adjustable(old: InstanceSpec, new: InstanceSpec) -> bool:
    """Whether a running container can be given the spec as it is."""
    same = replace(old, ceilings=new.ceilings, internet=new.internet)
    return same == replace(new, new_volume=False)


def _check_memory(spec: InstanceSpec) -> None:
    if spec.ceilings.memory_bytes < _MEMORY_BYTES:
        raise LimitInUseError(
            f"{spec.instance_id} uses {_MEMORY_BYTES} bytes of memory; it cannot go on with"
            f" {spec.ceilings.memory_bytes}",
            instance_id=spec.instance_id,
            used_bytes=_MEMORY_BYTES,
        )


def _line(stream: str, text: str) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {stream} {text}"


def _sample(instance_id: str, age_seconds: float) -> Sample:
    return Sample(
        instance_id=instance_id,
        cpu_nanos=int(age_seconds * 1e7),
        cpu_throttled_nanos=0,
        memory_bytes=_MEMORY_BYTES,
        memory_peak_bytes=9_000_000,
        oom_kills=0,
        pids=1,
        rx_bytes=1000,
        tx_bytes=2000,
        disk_bytes=57_344,
    )
