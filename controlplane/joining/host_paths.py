"""What a joined machine keeps: settings, credentials and state, all below one directory.

deploy/run-host reads host.env (settings) and agent.env (the broker's password): quoted shell words.
secrets/ holds the CA's certificate, the host's token and broker password, and the key by which the
control plane recognises this machine. Everything but the certificate has mode 0600.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controlplane.joining.errors import JoiningError
from installer import secret_files, settings_files
from settings.setting import SettingError
from settings.site import read_file


@dataclass(frozen=True, slots=True)
class HostPaths:
    """The directory of one host on this machine."""

    var: Path

    @property
    def state(self) -> Path:
        """Where the runtime keeps images, volumes and bundles."""
        return self.var / "host"

    @property
    def secrets(self) -> Path:
        """Where credentials lie."""
        return self.var / "secrets"

    @property
    def ca(self) -> Path:
        """The certificate of the pool's CA."""
        return self.secrets / "pool-ca.crt"

    @property
    def token(self) -> Path:
        """This host's HTTP token."""
        return self.secrets / "host-token"

    @property
    def host_env(self) -> Path:
        """Settings of keeper and agent; no secret among them."""
        return self.var / "host.env"

    @property
    def agent_env(self) -> Path:
        """The agent's way to the broker, with its password."""
        return self.var / "agent.env"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other join or leave of this host out. JoiningError when one is at work."""
        self.var.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(self.var / "join.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise JoiningError(
                f"another `stoa host` is at work on {self.var}; wait for it"
            ) from error
        finally:
            os.close(fd)

    def credentials(self) -> tuple[str, str, str]:
        """Machine key, broker password and HTTP token: made once, before anybody hears of them."""
        names = ("machine-key", "host-broker", "host-token")
        key, broker, token = (secret_files.ensure(self.secrets / name) for name in names)
        return key, broker, token

    def forget_credentials(self) -> None:
        """Delete all that proves who this host is."""
        for path in (self.agent_env, *self.secrets.glob("*")):
            path.unlink(missing_ok=True)

    def write(self, path: Path, settings: Mapping[str, str]) -> None:
        """Keep settings, in one step. JoiningError for a value that no shell word should hold."""
        try:
            settings_files.write(path, settings)
        except SettingError as error:
            raise JoiningError(str(error)) from error

    def settings(self) -> dict[str, str]:
        """Return what was kept by `write`; {} when this machine is no host."""
        return read_file(self.host_env)
