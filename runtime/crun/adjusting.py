"""Changing what a running container may use, without a restart.

Everything is idempotent, and the record is rewritten last: a process that is killed in between finds the
old record, and does the whole again.
"""

import logging
import resource
from contextlib import suppress
from dataclasses import replace

from runtime import network
from runtime.bundle import InstanceRecord
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.crun.records import Records
from runtime.disk import Spaces
from runtime.errors import RuntimeCoreError
from runtime.specs import InstanceSpec

log = logging.getLogger(__name__)


def is_adjustable(old: InstanceRecord, new: InstanceRecord) -> bool:
    """Return whether nothing differs but what a running container can be given: limits and internet."""
    spec = replace(old.spec, ceilings=new.spec.ceilings, internet=new.spec.internet)
    return old != new and replace(old, spec=spec) == new


class Adjuster:
    """Makes other limits hold for running containers of one host."""

    def __init__(
        self, config: HostConfig, cgroups: Cgroups, spaces: Spaces, records: Records
    ) -> None:
        self._config = config
        self._records = records
        self._cgroups = cgroups
        self._spaces = spaces

    def adjust(self, old: InstanceRecord, new: InstanceRecord, *, pid: int) -> None:
        """Let the new record hold for the container whose first process is pid.

        LimitInUseError when it uses more memory than it is to have, HostError when the kernel
        refuses: the old limits and the old record stay.
        """
        try:
            self._apply(new.spec, pid)
            self._records.write(new)
        except (RuntimeCoreError, OSError):
            # Memory may have grown meanwhile; the first error is raised.
            with suppress(RuntimeCoreError, OSError):
                self._apply(old.spec, pid)
            raise

    def _apply(self, spec: InstanceSpec, pid: int) -> None:
        self._cgroups.set_limits(spec.instance_id, spec.ceilings)
        self._spaces.limit(spec.instance_id, spec.volume, spec.ceilings.disk_bytes)
        network.limit(
            self._config,
            published_port=spec.published_port,
            ceilings=spec.ceilings,
            internet=spec.internet,
            netns_pid=pid,
        )
        self._limit_files(spec)

    def _limit_files(self, spec: InstanceSpec) -> None:
        """The largest file each process may write: as large as all its disk.

        New processes have it from those that made them: repeated until no new ones are found. The
        space's own limit holds in any case; so where this is not allowed, it waits for a restart.
        """
        amount, done = spec.ceilings.disk_bytes, set[int]()
        while found := set(self._cgroups.pids(spec.instance_id)) - done:
            for pid in found:
                try:
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (amount, amount))
                except ProcessLookupError:
                    continue
                except PermissionError:
                    log.warning(
                        "%s: the largest file stays as it was until its next start; this host's"
                        " root has no CAP_SYS_RESOURCE",
                        spec.instance_id,
                    )
                    return
            done |= found
