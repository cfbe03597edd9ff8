"""Looks twice a second whether an instance burns processor time, and lets it wait for the others."""

from runtime.bundle import InstanceDirectory
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.errors import RuntimeCoreError
from runtime.keeper.loop import Loop
from runtime.keeper.processes import say

# A look reads one file (20 microseconds) while no instance burns, else one for each instance.
EVERY_SECONDS = 0.5
_WHOLE_CORE = 1024  # what an instance without a readable record weighs


class BurnerWatch:
    """A timer around runtime.cgroup.Burners; what goes wrong with it must end no keeper."""

    def __init__(self, loop: Loop, config: HostConfig, cgroups: Cgroups) -> None:
        self._loop = loop
        self._state_dir = config.state_dir
        self._burners = cgroups.burners(self._shares_of)
        self._complaint = ""

    def look(self) -> None:
        """Look, and look again later."""
        try:
            self._burners.look()
        except (RuntimeCoreError, OSError) as error:
            if str(error) != self._complaint:
                say(f"cannot find out which instances burn processor time: {error}")
            self._complaint = str(error)
        self._loop.after(EVERY_SECONDS, self.look)

    def _shares_of(self, instance_id: str) -> int:
        record = InstanceDirectory.of(self._state_dir, instance_id).read_or_none()
        return record.spec.ceilings.cpu_shares if record else _WHOLE_CORE
