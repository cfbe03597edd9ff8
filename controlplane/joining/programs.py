"""Starts and stops the keeper and the agent of a joined host: under systemd where it runs, else supervised.

The unit and supervisor files are made from deploy/systemd/ and deploy/supervisord-host.conf.in.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from controlplane.joining.errors import JoiningError
from controlplane.joining.host_paths import HostPaths
from installer.supervising.supervisor import Supervisor, SupervisorError, filled
from settings.inner import REPO

_UNITS = Path("/etc/systemd/system")
_SYSTEMD = Path("/run/systemd/system")
_NAMES = ("keeper", "agent")


@dataclass(frozen=True, slots=True)
class Programs:
    """The two programs of one host."""

    place: HostPaths
    scope: str

    def start(self) -> str:
        """Start, or start anew with new settings; says who looks after them."""
        return self._systemd_start() if has_systemd() else self._supervisor_start()

    def renew(self) -> str:
        """After an update: the keeper takes the new code over in place, the agent starts anew."""
        is_up = (self.place.state / "keeper.sock").exists()
        keeper_of = self.start()
        if is_up:
            _call(str(REPO / "deploy/run-host"), str(self.place.var), "runtime", "keeper-upgrade")
        return keeper_of

    def stop(self) -> None:
        """Stop both; shops end with the keeper. Calm when they do not run."""
        if has_systemd():
            self._systemd_stop()
        self._supervisor_stop()

    # --- systemd ----------------------------------------------------------------------------------

    def _systemd_start(self) -> str:
        for name in _NAMES:
            (_UNITS / self._unit(name)).write_text(_unit_text(name, self.place, self.scope))
        _call("systemctl", "daemon-reload")
        _call("systemctl", "enable", "--quiet", *map(self._unit, _NAMES))
        _call("systemctl", "start", self._unit("keeper"))
        _call("systemctl", "restart", self._unit("agent"))
        return f"systemd ({' and '.join(map(self._unit, _NAMES))})"

    def _systemd_stop(self) -> None:
        for name in reversed(_NAMES):
            unit = _UNITS / self._unit(name)
            if unit.exists():
                _call("systemctl", "disable", "--quiet", "--now", unit.name)
                unit.unlink()
        _call("systemctl", "daemon-reload")

    def _unit(self, name: str) -> str:
        return f"stoa-{self.scope}-{name}.service"

    # --- supervisor -------------------------------------------------------------------------------

    def _supervisor_start(self) -> str:
        supervisor = self._supervisor
        run = f"{REPO}/deploy/run-host {self.place.var}"
        marks = {"KEEPER": f"{run} keeper", "AGENT": f"{run} agent"}
        try:
            supervisor.write("supervisord-host.conf.in", marks, autostart=True)
            supervisor.start()
            supervisor.ask("start", "keeper")
            supervisor.ask("restart", "host-agent")
        except SupervisorError as error:
            raise JoiningError(str(error)) from error
        return f"a supervisor of its own ({supervisor.conf}); after a reboot: bin/stoa host start"

    def _supervisor_stop(self) -> None:
        supervisor = self._supervisor
        if not supervisor.pid():
            return
        try:
            supervisor.ask("stop", "host-agent")
            supervisor.ask("stop", "keeper")
            supervisor.stop()
        except SupervisorError as error:
            raise JoiningError(str(error)) from error

    @property
    def _supervisor(self) -> Supervisor:
        return Supervisor(self.place.var, self.place.var, self.scope)


def has_systemd() -> bool:
    """Return whether systemd runs this machine."""
    return _SYSTEMD.is_dir()


def _unit_text(name: str, place: HostPaths, scope: str) -> str:
    marks = {"REPO": str(REPO), "VAR": str(place.var), "SCOPE": scope}
    return filled(f"systemd/stoa-{name}.service.in", marks)


def _call(*argv: str) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise JoiningError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()[-500:]}")
