"""CrunDriver: one host's containers, as control flows see them.

It prepares (image, volume, record), asks the keeper to start or stop, and watches health. It keeps
nothing in memory that is not also on disk: the agent may be killed at any moment and called again.
"""

import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any

from runtime.bundle import Desired, Fences, InstanceDirectory, InstanceRecord, Program, first_id
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.crun import health
from runtime.crun.adjusting import Adjuster, is_adjustable
from runtime.crun.disks import Disks
from runtime.crun.exec_attach import attend
from runtime.crun.execute import execute
from runtime.crun.mending import RecordMender
from runtime.crun.probing import Prober
from runtime.crun.records import Records
from runtime.crun.sampling import Sampler
from runtime.crun.statuses import ended_badly, needs_start, status_of, status_of_damaged
from runtime.crun.volumes import VolumesHere
from runtime.disk import Spaces
from runtime.errors import HostError, InputError, UnhealthyError
from runtime.image import ImageRetention, ImageStore, Supply
from runtime.keeper.client import KeeperCall, KeeperClient
from runtime.keeper.logs import tail
from runtime.network import address_for, disconnect
from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.statuses import ContainerState, ExecResult, ImageStatus, InstanceStatus
from runtime.units import Sample
from runtime.volume_requests import VolumeLoad, VolumeLoaded, VolumeSave, VolumeSaved

# The launcher's work takes tens of milliseconds; this bounds a host that is on its knees.
START_SECONDS = 60.0
REPLACE_GRACE_SECONDS = 10.0
_KILL_MARGIN_SECONDS = 20.0
_LAST_LINES = 20
# How long a start waits for its image (its callers wait 10 s more than for health), and who asks for it.
_IMAGE_SECONDS = 6.0
_FETCH_SECONDS = 600.0


class CrunDriver:
    """Implements runtime.driver.Driver for the host that config describes. Safe to share between threads."""

    def __init__(self, config: HostConfig) -> None:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._config = config
        self._keeper = KeeperClient(config.keeper_socket)
        self._cgroups = Cgroups.detect(config)
        self._images = ImageStore(config.state_dir / "images")
        self._images.sweep()
        self._prober = Prober(self._keeper, self._address)
        self._supply = Supply(self._images, config.images)
        self._spaces = Spaces(config.state_dir)
        self._disks = Disks(self._spaces)
        self._fences = Fences(config.state_dir)
        self._records = Records(config.state_dir)
        self._sampler = Sampler(config, self._cgroups, self._disks)
        self._adjuster = Adjuster(config, self._cgroups, self._spaces, self._records)
        self._locks: defaultdict[str, RLock] = defaultdict(RLock)
        self._mender = RecordMender(self._records, self._locks.__getitem__)
        self._volumes = VolumesHere(
            config, self._spaces, self._records, self._keeper, self._locks.__getitem__
        )

    def ensure_running(self, spec: InstanceSpec, *, fence: Fence) -> InstanceStatus:
        """See Driver.ensure_running."""
        spec.check()
        first_id(self._config, spec.published_port)
        began = time.monotonic()
        with self._locks[spec.instance_id]:
            self._fences.admit(spec.instance_id, fence)
            self._supply.ensure(spec.image_digest, spec.image_source, wait_seconds=_IMAGE_SECONDS)
            record = self._record(spec)
            self._mender.mend_one(spec.instance_id)
            self._records.claim_port(spec.published_port, spec.instance_id)
            if self._is_well(record) or self._is_adjusted(record):
                return self.status(spec.instance_id)
            self._spaces.check(spec.volume, is_new=spec.new_volume)
            keep_layers = self._make_way(record)
            self._prepare(record, is_new=spec.new_volume)
            timings = {"prepare": _since(began)}
            with self._keeper.call("start", id=spec.instance_id, keep_layers=keep_layers) as call:
                started = call.next(START_SECONDS)
                if started is None:
                    raise HostError(
                        f"{spec.instance_id} was not started within {START_SECONDS:g} s"
                    )
                timings.update(started["timings_ms"])
                timings["keeper"] = _since(began, less=timings)
                self._await_health(spec, call)
            timings["health"] = _since(began, less=timings)
            timings["total"] = _since(began)
            self._keeper.ask("confirm", id=spec.instance_id)
            self._spaces.note_content(spec.volume)
            return self._status(spec.instance_id, timings)

    def ensure_stopped(
        self, instance_id: str, *, fence: Fence, grace_seconds: float = 10.0
    ) -> InstanceStatus:
        """See Driver.ensure_stopped."""
        with self._locks[instance_id]:
            self._fences.admit(instance_id, fence)
            if not self._records.is_here(instance_id):
                return InstanceStatus(instance_id, ContainerState.ABSENT, fence=fence)
            record = self._records.get(instance_id)
            if record and record.desired is not Desired.STOPPED:
                self._records.write(
                    InstanceRecord(record.spec, record.image, record.program, Desired.STOPPED)
                )
            self._stop(instance_id, grace_seconds)
            return self.status(instance_id)

    def ensure_absent(
        self, instance_id: str, *, fence: Fence, volume: VolumeFate, grace_seconds: float = 10.0
    ) -> None:
        """See Driver.ensure_absent."""
        directory = InstanceDirectory.of(self._config.state_dir, instance_id)
        with self._locks[instance_id]:
            self._fences.admit(instance_id, fence)
            record = self._records.get(instance_id)
            self._stop(instance_id, grace_seconds)
            self._cgroups.kill(instance_id)
            self._cgroups.remove(instance_id)
            self._volumes.remove(instance_id, record, volume)
            if record:
                disconnect(self._config, record.spec.published_port)
                self._images.release(record.spec.image_digest, instance_id)
                self._records.drop_port(record.spec.published_port, instance_id)
            else:  # never here, or nobody can say what it had
                self._images.release_all(instance_id)
                self._records.drop_ports(instance_id)
            self._keeper.ask("forget", id=instance_id)
            directory.remove()
            self._records.forget(instance_id)
            self._sampler.forget(instance_id)

    def status(self, instance_id: str) -> InstanceStatus:
        """See Driver.status."""
        return self._status(instance_id, None)

    def list(self) -> tuple[InstanceStatus, ...]:
        """See Driver.list. Instances the keeper started again by itself are asked for their health here."""
        shown = self._keeper.status()
        records = self._records.all()
        self._prober.ask(records, shown)
        self._disks.look(records)
        self._mender.mend_all()
        held = {name for name, state in shown.items() if state["phase"] != "ended"}
        return tuple(
            self._shown(name, records.get(name), shown.get(name, {}), self._fences.seen(name))
            for name in sorted(records.keys() | held | set(self._records.damaged()))
        )

    def logs(self, instance_id: str, *, lines: int = 100) -> tuple[str, ...]:
        """See Driver.logs."""
        return tail(InstanceDirectory.of(self._config.state_dir, instance_id), lines)

    def samples(self) -> tuple[Sample, ...]:
        """See Driver.samples."""
        self._disks.look(self._records.all())
        running = [name for name, shown in self._keeper.status().items() if shown["pid"]]
        return self._sampler.samples(
            {name: record for name in running if (record := self._records.get(name))}
        )

    def images(self) -> tuple[ImageStatus, ...]:
        """See Driver.images."""
        return self._images.list()

    def ensure_image(self, digest: str, source: str = "") -> ImageStatus:
        """See Driver.ensure_image."""
        self._supply.ensure(digest, source, wait_seconds=_FETCH_SECONDS)
        return self._images.status(digest)

    def collect_images(self, keep: tuple[str, ...]) -> tuple[str, ...]:
        """See Driver.collect_images."""
        keeping = ImageRetention(self._config.state_dir / "images")
        keeping.remember(keep)
        used = {name: record.spec.image_digest for name, record in self._records.all().items()}
        used = dict.fromkeys(self._records.damaged(), "") | used
        return tuple(image.digest for image in keeping.collect(self._images, used))

    def exec(
        self, instance_id: str, argv: tuple[str, ...], *, timeout_seconds: float = 30.0
    ) -> ExecResult:
        """See Driver.exec."""
        record, pid = self._running(instance_id, argv)
        return execute(
            self._config,
            record,
            argv,
            pid=pid,
            cgroup=self._cgroups.oci_path(instance_id),
            timeout_seconds=timeout_seconds,
        )

    def save_volume(self, save: VolumeSave) -> VolumeSaved:
        """See Driver.save_volume."""
        save.check()
        return self._volumes.save(save)

    def load_volume(self, load: VolumeLoad, *, fence: Fence) -> VolumeLoaded:
        """See Driver.load_volume."""
        load.check()
        with self._locks[load.instance_id]:
            self._fences.admit(load.instance_id, fence)
            return self._volumes.load(load)

    def volumes_here(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """See Driver.volumes_here."""
        return tuple(name for name in names if self._spaces.holds(name))

    def exec_attended(self, instance_id: str, argv: tuple[str, ...], *, terminal: bool) -> int:
        """Run a command inside for the person at our own standard streams; its exit code.

        terminal: give it one of its own, the size of ours; otherwise it gets pipes.
        """
        record, pid = self._running(instance_id, argv)
        return attend(
            self._config,
            record,
            argv,
            pid=pid,
            cgroup=self._cgroups.oci_path(instance_id),
            terminal=terminal,
        )

    def _running(self, instance_id: str, argv: tuple[str, ...]) -> tuple[InstanceRecord, int]:
        if not argv:
            raise InputError("exec needs a command to run")
        record = self._records.get(instance_id)
        pid = self._keeper.status(instance_id).get(instance_id, {}).get("pid", 0)
        if record is None or not pid:
            raise InputError(f"{instance_id} does not run here; exec needs a running container")
        return record, int(pid)

    # Parts of ensure_running -------------------------------------------------------------------

    def _record(self, spec: InstanceSpec) -> InstanceRecord:
        image = self._images.config(spec.image_digest)
        program = Program(
            argv=image.argv,
            env=image.env,
            working_dir=image.working_dir,
            uid=image.uid,
            gid=image.gid,
            stop_signal=image.stop_signal,
            volumes=image.volumes if spec.volume else (),
        )
        path = str(self._images.rootfs(spec.image_digest))
        # Nobody who reads the record may make a volume: what is started again has one.
        return InstanceRecord(replace(spec, new_volume=False), path, program, Desired.RUNNING)

    def _is_well(self, record: InstanceRecord) -> bool:
        """Return whether a container with an equal spec runs and answers, so that nothing is to be done."""
        instance_id = record.spec.instance_id
        return self._records.get(instance_id) == record and self._well_pid(record) > 0

    def _is_adjusted(self, record: InstanceRecord) -> bool:
        """Return whether what runs well could be given the spec's limits without a restart, and was."""
        old = self._records.get(record.spec.instance_id)
        if old is None or not is_adjustable(old, record):
            return False
        pid = self._well_pid(old)
        if pid:
            self._adjuster.adjust(old, record, pid=pid)
        return pid > 0

    def _well_pid(self, record: InstanceRecord) -> int:
        """Return the first process of a container that runs and answers, 0 when none does."""
        instance_id = record.spec.instance_id
        shown = self._keeper.status(instance_id).get(instance_id, {})
        if shown.get("phase") != "running" or needs_start(shown):
            return 0
        if not shown["healthy"]:
            if not self._prober.is_well(record.spec):
                return 0
            self._keeper.ask("confirm", id=instance_id)
        return int(shown["pid"])

    def _make_way(self, record: InstanceRecord) -> bool:
        """End what is there: another container, or an equal one that had its time to become well.

        Whether the layer stays: of an equal one that was well once, and was ended for giving no answer.
        """
        instance_id = record.spec.instance_id
        old = self._records.get(instance_id)
        shown = self._keeper.status(instance_id).get(instance_id, {})
        if old is None:
            if shown:  # nobody can say of which spec it is
                self._stop(instance_id, REPLACE_GRACE_SECONDS)
            return False
        young = shown.get("age_seconds", 0.0) < record.spec.health_timeout_seconds
        beginning = shown.get("phase") in {"queued", "starting", "running"}
        if old == record and beginning and young:
            return False
        self._stop(instance_id, REPLACE_GRACE_SECONDS)
        if old.spec.image_digest != record.spec.image_digest:
            self._images.release(old.spec.image_digest, instance_id)
        if old.spec.published_port != record.spec.published_port:
            self._records.drop_port(old.spec.published_port, instance_id)
        return old == record and shown.get("phase") == "running" and bool(shown["proven"])

    def _prepare(self, record: InstanceRecord, *, is_new: bool) -> None:
        spec, program = record.spec, record.program
        self._images.hold(spec.image_digest, spec.instance_id)
        self._spaces.ensure(
            spec.instance_id,
            spec.volume,
            ceiling=spec.ceilings.disk_bytes,
            owner=(program.uid, program.gid),
            is_new=is_new,
            rootfs=Path(record.image),
        )
        self._volumes.begin_to_run(spec.volume)
        if self._records.get(spec.instance_id) != record:
            self._records.write(record)

    def _await_health(self, spec: InstanceSpec, call: KeeperCall) -> None:
        """Return once the container is well; the keeper's news of its end is what is slept on."""
        deadline = time.monotonic() + spec.health_timeout_seconds
        address = self._address(spec)
        for pause in health.pauses():
            left = deadline - time.monotonic()
            if health.answers(
                address, spec.container_port, spec.health_path, timeout=min(2.0, max(0.1, left))
            ):
                return
            if (news := call.next(pause)) is not None:
                raise ended_badly(spec, news["exit_code"], self._last_lines(spec))
            if left <= 0:
                raise self._unhealthy(spec)

    def _unhealthy(self, spec: InstanceSpec) -> UnhealthyError:
        wanted = f"answer {spec.health_path} with 200" if spec.health_path else "accept connections"
        shown = self._keeper.status(spec.instance_id).get(spec.instance_id, {})
        return UnhealthyError(
            f"{spec.instance_id} runs but did not {wanted} on port {spec.container_port}"
            f" within {spec.health_timeout_seconds:g} s; {health.listens_on(shown.get('pid', 0))}",
            instance_id=spec.instance_id,
            log_lines=[*self._last_lines(spec)],
        )

    def _last_lines(self, spec: InstanceSpec) -> tuple[str, ...]:
        return self.logs(spec.instance_id, lines=_LAST_LINES)

    def _status(self, instance_id: str, timings: dict[str, float] | None) -> InstanceStatus:
        record = self._records.get(instance_id)
        fence = self._fences.seen(instance_id)
        shown = self._keeper.status(instance_id).get(instance_id, {})
        if not self._records.is_here(instance_id) and shown.get("phase", "ended") == "ended":
            return InstanceStatus(instance_id, ContainerState.ABSENT, fence=fence)
        if timings:
            shown["timings_ms"] = timings
        return self._shown(instance_id, record, shown, fence)

    def _shown(
        self, instance_id: str, record: InstanceRecord | None, shown: dict[str, Any], fence: Fence
    ) -> InstanceStatus:
        damage = self._mender.trouble(instance_id)
        if record is None:
            return status_of_damaged(instance_id, shown, fence, damage)
        disk = self._disks.state(instance_id, record)
        address = self._address(record.spec)
        kills = self._sampler.oom_kills(instance_id)
        found = status_of(record, shown, fence, address=address, oom_kills=kills, disk=disk)
        return replace(found, troubles=(damage, *found.troubles)) if damage else found

    def _address(self, spec: InstanceSpec) -> str:
        return str(address_for(self._config, spec.published_port))

    def _stop(self, instance_id: str, grace_seconds: float) -> None:
        if not self._records.is_here(instance_id) and not self._keeper.status(instance_id):
            return
        limit = grace_seconds + _KILL_MARGIN_SECONDS
        self._keeper.ask("stop", id=instance_id, grace=grace_seconds, timeout=limit)


def _since(began: float, *, less: dict[str, float] | None = None) -> float:
    """Milliseconds since began that are not yet accounted for."""
    return round((time.monotonic() - began) * 1000 - sum((less or {}).values()), 2)
