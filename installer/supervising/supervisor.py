"""A supervisor of programs: its configuration, its start, and whether it runs."""

import os
import resource
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from installer.commands import tail, wait_for
from installer.progress import InstallError, complain
from installer.supervising import programs
from settings.inner import REPO

# A program that needs another waits for it, ever longer, for some minutes (startretries).
_OF_EVERY_PROGRAM = (
    "autorestart=true",
    "startsecs=1",
    "startretries=60",
    "redirect_stderr=true",
    "stdout_logfile_maxbytes=10MB",
    "stdout_logfile_backups=2",
)
_CLEAN = {"HOME": "/root", "LANG": "C.UTF-8"}
_START_SECONDS = 15.0
_STOP_SECONDS = 90.0
# Of a program that has run for less, the log may say why it was started again.
_YOUNG_SECONDS = 3
_TAIL_LINES, _WIDTH = 12, 400
_MOST_FILES = 65536
# The kernel takes 107 characters for a unix socket's path.
_MOST_SOCKET = 100


class SupervisorError(InstallError):
    """A supervisor that cannot be as it was asked to be; says what to do."""


@dataclass(frozen=True, slots=True)
class Supervisor:
    """One supervisord.

    var: the directory with its run/ and logs/. short: the same, by a path that a socket's fits in.
    """

    var: Path
    short: Path
    scope: str

    @property
    def conf(self) -> Path:
        """Its configuration."""
        return self.var / "run/supervisord.conf"

    @property
    def socket(self) -> Path:
        """Where it is asked."""
        return self.short / "run/supervisor.sock"

    def write(self, template: str, marks: Mapping[str, str], *, autostart: bool) -> None:
        """Write its configuration. template: of deploy/. marks: what stands for each further @MARK@."""
        if len(str(self.socket)) > _MOST_SOCKET:
            raise SupervisorError(
                f"{self.socket} is too long a path for a unix socket; give a shorter directory"
            )
        for folder, mode in (("run", 0o755), ("logs", 0o750)):
            (self.var / folder).mkdir(mode=mode, parents=True, exist_ok=True)
        common = "\n".join((f"autostart={str(autostart).lower()}", *_OF_EVERY_PROGRAM))
        known = {"COMMON": common, "REPO": str(REPO), "VAR": str(self.var)}
        known |= {"SHORT": str(self.short), "SCOPE": self.scope, **marks}
        lines = filled(template, known).splitlines()
        self.conf.write_text("\n".join(self._with_logs(lines)) + "\n")

    def _with_logs(self, lines: Sequence[str]) -> list[str]:
        found = []
        for line in lines:
            found.append(line)
            if line.startswith("[program:"):
                name = line.removeprefix("[program:").rstrip("]")
                found.append(f"stdout_logfile={self.var}/logs/{name}.log")
        return found

    def start(
        self, *, inside: Sequence[str] = (), environ: Mapping[str, str] | None = None
    ) -> None:
        """Start it, and wait until it can be asked; no-op while it runs.

        inside: a command that runs its arguments elsewhere, as nsenter does. environ: what its programs find.
        What the caller has set for something else does not reach them.
        """
        if self.pid():
            return
        self.socket.unlink(missing_ok=True)
        done = subprocess.run(
            [*inside, str(REPO / ".venv/bin/supervisord"), "-c", str(self.conf)],
            env={**(environ or {}), **_CLEAN, "PATH": os.environ.get("PATH", os.defpath)},
            check=False,
            capture_output=True,
            text=True,
            preexec_fn=_allow_many_files,
        )
        log = f"its log: {self.var}/logs/supervisord.log"
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-500:]
            raise SupervisorError(f"the supervisor of {self.var} did not start: {said}; {log}")
        _until(
            lambda: bool(self.pid()) and self.socket.exists(),
            f"the supervisor of {self.var} does not answer; {log}",
            seconds=_START_SECONDS,
        )

    def stop(self) -> None:
        """End it with its programs; no-op when it does not run."""
        if self.pid():
            self.ask("shutdown")
            _until(lambda: not self.pid(), "the supervisor did not end", seconds=_STOP_SECONDS)

    def pid(self) -> int:
        """Return its process; 0 when it does not run."""
        return _pid(self.var)

    def ask(self, verb: str, *names: str) -> None:
        """Have it do something (installer/supervising/programs.py); SupervisorError when it cannot."""
        if troubles := programs.ask(self.socket, verb, names):
            raise SupervisorError(f"the supervisor: {verb}: {'; '.join(troubles)}")

    def pid_of(self, name: str) -> int:
        """Return the process of one of its programs; 0 when it does not run."""
        return next(
            (program.pid for program in programs.states(self.socket) if program.name == name), 0
        )

    def stopped(self) -> list[str]:
        """Return those of its programs that do not run."""
        return [
            program.name
            for program in programs.states(self.socket)
            if program.state not in programs.UP
        ]

    def complain_of_unwell(self) -> None:
        """Print the end of the log of each program that does not run, or has only just begun to."""
        for program in programs.states(self.socket):
            is_well = program.state in {"RUNNING", "STOPPED"}
            if is_well and (program.seconds >= _YOUNG_SECONDS or not program.pid):
                continue
            log = self.var / "logs" / f"{program.name}.log"
            complain(f"\n{program.name} is {program.state}; the end of {log}:")
            lines = (line[:_WIDTH] for line in tail(log, _TAIL_LINES).splitlines())
            complain("\n".join(f"  | {line}" for line in lines))


def is_supervised(var: Path) -> bool:
    """Return whether the supervisor of the Stoa or host whose data lie there is alive."""
    return bool(_pid(var))


def _pid(var: Path) -> int:
    """Return the supervisor's process, 0 for none. The number in its file may be another process's by now."""
    with suppress(OSError, ValueError):
        pid = int((var / "run/supervisord.pid").read_text())
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if str(var / "run/supervisord.conf").encode() in argv:
            return pid
    return 0


def filled(template: str, marks: Mapping[str, str]) -> str:
    """Return a template's text with a value for each @MARK@. template: of deploy/."""
    text = (REPO / "deploy" / template).read_text()
    for name, value in marks.items():
        text = text.replace(f"@{name}@", value)
    return text


def _until(is_so: Callable[[], bool], message: str, *, seconds: float) -> None:
    if not wait_for(is_so, seconds):
        raise SupervisorError(message)


def _allow_many_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
