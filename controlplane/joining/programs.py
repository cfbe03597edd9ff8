"""Starts and stops the keeper and the agent of a joined host: under systemd where it runs, else supervised.

The unit and supervisor files are made from deploy/systemd/ and deploy/host-supervisord.conf.in.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from controlplane.joining.errors import JoiningError
from controlplane.joining.place import Place

REPO = Path(__file__).resolve().parents[2]
_UNITS = Path("/etc/systemd/system")
_SYSTEMD = Path("/run/systemd/system")
_NAMES = ("keeper", "agent")
_STOP_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Programs:
    """The two programs of one host."""

    place: Place
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
            text = _filled(REPO / f"deploy/systemd/stoa-{name}.service.in", self.place, self.scope)
            (_UNITS / self._unit(name)).write_text(text)
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
        for folder in ("run", "logs"):
            (self.place.var / folder).mkdir(mode=0o750, exist_ok=True)
        if len(str(self._socket)) > 90:
            raise JoiningError(
                f"{self.place.var} is too long a path for unix sockets; give a shorter --var"
            )
        self._conf.write_text(
            _filled(REPO / "deploy/host-supervisord.conf.in", self.place, self.scope)
        )
        if not self._runs():
            self._socket.unlink(missing_ok=True)
            program = Path(sys.executable).parent / "supervisord"
            # What the caller has set for something else must not reach them.
            kept = {
                name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ
            }
            _call(str(program), "-c", str(self._conf), environ=kept)
            _until(self._runs, "the supervisor did not start", seconds=15)
        self._supervise("start", "keeper")
        self._supervise("restart", "agent")
        return f"a supervisor of its own ({self._conf}); after a reboot: bin/stoa host start"

    def _supervisor_stop(self) -> None:
        if not self._runs():
            return
        self._supervise("stop", "agent")
        self._supervise("stop", "keeper")
        self._supervise("shutdown")
        _until(lambda: not self._runs(), "the supervisor did not end", seconds=_STOP_SECONDS)

    def _runs(self) -> bool:
        return self._socket.exists() and self._asked("pid", "keeper").returncode == 0

    def _supervise(self, *words: str) -> None:
        done = self._asked(*words)
        if done.returncode:
            raise JoiningError(f"the supervisor: {' '.join(words)}: {done.stdout}{done.stderr}")

    def _asked(self, *words: str) -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, str(REPO / "deploy/programs.py"), str(self._socket), *words]
        return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)

    @property
    def _conf(self) -> Path:
        return self.place.var / "run/supervisord.conf"

    @property
    def _socket(self) -> Path:
        return self.place.var / "run/supervisor.sock"


def has_systemd() -> bool:
    """Whether systemd runs this machine."""
    return _SYSTEMD.is_dir()


def _filled(template: Path, place: Place, scope: str) -> str:
    text = template.read_text()
    for name, value in (("REPO", str(REPO)), ("VAR", str(place.var)), ("SCOPE", scope)):
        text = text.replace(f"@{name}@", value)
    return text


def _call(*argv: str, environ: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, timeout=120, env=environ
    )
    if done.returncode:
        raise JoiningError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()[-500:]}")


def _until(is_so: Callable[[], bool], message: str, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise JoiningError(message)
        time.sleep(0.1)
