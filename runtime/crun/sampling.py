"""One usage sample of every running instance, in one pass."""

import logging

from runtime.bundle import InstanceRecord
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.crun.disks import Disks
from runtime.errors import HostError
from runtime.network import Counters, counters
from runtime.units import Sample

log = logging.getLogger(__name__)


class Sampler:
    """Reads cgroups, interface counters and what disks hold.

    keep_open: how many files of cgroups stay open at most, None for half of what the process may open.
    """

    def __init__(
        self,
        config: HostConfig,
        cgroups: Cgroups,
        disks: Disks,
        *,
        keep_open: int | None = None,
    ) -> None:
        self._config = config
        self._meter = cgroups.meter(keep_open=keep_open)
        self._disks = disks

    def samples(self, records: dict[str, InstanceRecord]) -> tuple[Sample, ...]:
        """Return one sample of each instance given that still runs, ordered by id."""
        self._meter.keep_only(set(records))
        traffic = counters(self._config)
        found = []
        for name in sorted(records):
            try:
                found.append(self._sample(name, records[name], traffic))
            except (OSError, ValueError, HostError) as error:
                log.warning("%s is not measured: %s", name, error)
        return tuple(sample for sample in found if sample)

    def forget(self, instance_id: str) -> None:
        """The instance is gone."""
        self._disks.forget(instance_id)
        self._meter.forget(instance_id)

    def close(self) -> None:
        """Let go of every open file."""
        self._meter.close()

    def oom_kills(self, instance_id: str) -> int:
        """Return how many processes the kernel has killed in the instance's cgroup so far."""
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
            disk_bytes=self._disks.used(instance_id, record),
            io_read_bytes=usage.io_read_bytes,
            io_write_bytes=usage.io_write_bytes,
            cpu_stall_micros=usage.cpu_stall_micros,
            memory_stall_micros=usage.memory_stall_micros,
            io_stall_micros=usage.io_stall_micros,
        )
