"""One usage sample of every running instance, in one pass."""

import time

from runtime.bundle import InstanceDirectory, InstanceRecord
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.network import Counters, counters
from runtime.trees import disk_bytes
from runtime.units import Sample
from runtime.volume import Volumes

# Walking files is dear and disks fill slowly: each instance's is measured again after this long.
DISK_SECONDS = 60.0


class Sampler:
    """Reads cgroups and interface counters; remembers what disks held for a while.

    keep_open: how many files of cgroups stay open at most, None for half of what the process may open.
    """

    def __init__(
        self,
        config: HostConfig,
        cgroups: Cgroups,
        volumes: Volumes,
        *,
        keep_open: int | None = None,
    ) -> None:
        self._config = config
        self._meter = cgroups.meter(keep_open=keep_open)
        self._volumes = volumes
        self._disk: dict[str, tuple[float, int]] = {}

    def samples(self, records: dict[str, InstanceRecord]) -> tuple[Sample, ...]:
        """One sample of each instance given that still runs, ordered by id."""
        self._meter.keep_only(set(records))
        traffic = counters(self._config)
        found = (self._sample(one, records[one], traffic) for one in sorted(records))
        return tuple(sample for sample in found if sample)

    def forget(self, instance_id: str) -> None:
        """The instance is gone."""
        self._disk.pop(instance_id, None)
        self._meter.forget(instance_id)

    def close(self) -> None:
        """Let go of every open file."""
        self._meter.close()

    def oom_kills(self, instance_id: str) -> int:
        """How many processes the kernel has ended in the instance's cgroup so far."""
        return self._meter.oom_kills(instance_id)

    def _sample(
        self, instance_id: str, record: InstanceRecord, traffic: dict[int, Counters]
    ) -> Sample | None:
        usage = self._meter.usage(instance_id)
        if usage is None:
            return None
        network = traffic.get(record.spec.published_port, Counters(0, 0))
        return Sample(
            instance_id=instance_id,
            cpu_nanos=usage.cpu_nanos,
            cpu_throttled_nanos=usage.cpu_throttled_nanos,
            memory_bytes=usage.memory_bytes,
            memory_peak_bytes=usage.memory_peak_bytes,
            oom_kills=usage.oom_kills,
            pids=usage.pids,
            rx_bytes=network.rx_bytes,
            tx_bytes=network.tx_bytes,
            disk_bytes=self._disk_bytes(instance_id, record),
            io_read_bytes=usage.io_read_bytes,
            io_write_bytes=usage.io_write_bytes,
            cpu_stall_micros=usage.cpu_stall_micros,
            memory_stall_micros=usage.memory_stall_micros,
            io_stall_micros=usage.io_stall_micros,
        )

    def _disk_bytes(self, instance_id: str, record: InstanceRecord) -> int:
        now = time.monotonic()
        at, amount = self._disk.get(instance_id, (-DISK_SECONDS, 0))
        if now - at >= DISK_SECONDS:
            directory = InstanceDirectory.of(self._config.state_dir, instance_id)
            amount = disk_bytes(directory.root)
            if record.spec.volume:
                amount += self._volumes.disk_bytes(record.spec.volume)
            self._disk[instance_id] = (now, amount)
        return amount
