"""The Stoa of one directory, as bin/up and bin/down work on it."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from installer import secret_files
from installer.commands import attempt, wait_for
from installer.progress import InstallError, Steps
from installer.supervising.supervisor import Supervisor
from settings import common, hosts, inner
from settings.setting import Setting
from settings.site import Site

ENTER = str(inner.REPO / "bin/stoa-env")
# Programs under the supervisor, in the order they are started.
PROGRAMS = (
    *("postgres", "redis", "keeper", "host-agent", "edge-agent", "haproxy"),
    *("web", "depot", "events", "control", "sweep", "beat"),
)
_LOCK_SECONDS = 600.0


@dataclass(slots=True)
class Installation:
    """due: what has other settings or files than it was made from → how it takes them up.

    now: fingerprints of these (installer/supervising/concerns.py). programs_since: when hosts and edges were
    started or brought up to date; what they reported before does not count.
    """

    site: Site
    say: Steps
    due: dict[str, str] = field(default_factory=dict)
    now: dict[str, str] = field(default_factory=dict)
    programs_since: float = 0.0

    @property
    def var(self) -> Path:
        """Where all its data lie."""
        return self.site.var

    @property
    def environ(self) -> Mapping[str, str]:
        """Its settings and what follows from them, as variables."""
        return self.site.variables

    def text(self, setting: Setting[Any]) -> str:
        """Return a setting of it, as text."""
        return self.environ.get(setting.name, "")

    @property
    def short(self) -> Path:
        """Its directory, by a path that a socket's fits in."""
        return inner.SHORT.of(self.environ)

    @property
    def scope(self) -> str:
        """What its containers, cgroups and firewall table are called by."""
        return common.SCOPE.of(self.environ)

    @property
    def state(self) -> Path:
        """Where this machine, as a host, keeps images, volumes and bundles."""
        return inner.HOST_STATE.of(self.environ)

    @property
    def has_further_hosts(self) -> bool:
        """Whether it is to have more hosts than this machine."""
        return hosts.HOSTS.of(self.environ) > 1

    # --- the file of settings -------------------------------------------------------------------

    @property
    def saved_settings(self) -> Path:
        """What the last bin/up was given."""
        return self.var / "settings"

    def settings_text(self) -> str:
        """Return what this one was given, as that file has it."""
        lines = {**self.site.given, inner.RUN_AS.name: self.text(inner.RUN_AS)}
        return "".join(f"{name}={value}\n" for name, value in lines.items())

    @property
    def has_saved_these(self) -> bool:
        """Whether the file of settings is what this one was given."""
        return secret_files.read(self.saved_settings) == self.settings_text().strip()

    def save_settings(self) -> None:
        """Keep what this one was given, for the next time."""
        if not self.has_saved_these:
            secret_files.write(self.saved_settings, self.settings_text(), mode=0o644)

    def run_as(self, user: str) -> None:
        """From here on the control plane's programs belong to this system user."""
        variables = {**self.environ, inner.RUN_AS.name: user}
        self.site = Site(self.var, self.site.saved, self.site.given, variables)

    # --- the supervisor -------------------------------------------------------------------------

    def supervisor(self) -> Supervisor:
        """Return the supervisor of all its programs but those of further hosts."""
        return Supervisor(self.var, self.short, self.scope)

    @property
    def is_running(self) -> bool:
        """Whether its supervisor is alive."""
        return bool(self.supervisor().pid())

    def write_conf(self) -> None:
        """Write the supervisor's configuration."""
        ports = (inner.WEB_PORT, inner.EVENTS_PORT)
        marks = {setting.name.removeprefix("STOA_"): self.text(setting) for setting in ports}
        template = "supervisord.conf.in"
        self.supervisor().write(template, {"RUN": ENTER, **marks}, autostart=False)

    def start_environment(self) -> dict[str, str]:
        """Return what a supervisor finds. Programs get the rest from bin/stoa-env, which reads settings."""
        return {setting.name: self.text(setting) for setting in (inner.VAR, inner.CACHE)}

    # --- commands -------------------------------------------------------------------------------

    def enter(self, *argv: str, role: str = "manage", host: str = "") -> list[str]:
        """Return the command that runs a program in its environment; host: in that of a further host."""
        return [ENTER, *(["--host", host] if host else []), "--as", role, *argv]

    def attempt(self, what: str, argv: Sequence[str]) -> None:
        """Say what is done, and do it; its output is in logs/last-step."""
        self.say(what)
        attempt(what, argv, self.var / "logs/last-step", env=self.environ)

    def wait_for(self, what: str, seconds: float, is_so: Callable[[], bool]) -> None:
        """Wait for a part of it; InstallError, after the logs of what is unwell."""
        if not wait_for(is_so, seconds):
            self.supervisor().complain_of_unwell()
            raise InstallError(f"{what} did not answer within {seconds:.0f} s")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other bin/up and bin/down of it out."""
        fd = os.open(self.var / "run/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not wait_for(lambda: _has_locked(fd), _LOCK_SECONDS):
                raise InstallError(f"another bin/up or bin/down of {self.var} is still at work")
            yield
        finally:
            os.close(fd)

    def mark_start(self) -> None:
        """From here on only what hosts and edges report counts."""
        self.programs_since = time.time()


def is_unlocked(var: Path) -> bool:
    """Return whether no bin/up or bin/down of the Stoa in this directory is at work."""
    try:
        fd = os.open(var / "run/lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        return _has_locked(fd)
    finally:
        os.close(fd)


def _has_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
