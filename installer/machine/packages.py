"""Installs the Debian packages that are missing, and none that is there."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from installer.commands import logged, succeeds, tail
from installer.progress import InstallError, Steps, complain

Check = Callable[[], bool]
_GUARD = Path("/usr/sbin/policy-rc.d")
_GUARD_TEXT = "#!/bin/sh\n# Stoa's installer made this, and removes it.\nexit 101\n"
_APT = ("apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0")
_SYSTEMD = Path("/run/systemd/system")
# Packages whose services systemd would start at the next boot.
_SERVICES = ("postgresql", "redis-server", "haproxy", "docker-registry", "prometheus")


def _programs(*names: str) -> Check:
    return lambda: all(shutil.which(name) for name in names)


def _files(pattern: str) -> Check:
    return lambda: any(Path("/").glob(pattern.removeprefix("/")))


def _compose() -> bool:
    return bool(shutil.which("docker-compose")) or succeeds("docker", "compose", "version")


# A Debian package → whether what it brings is there. bin/python.sh has brought Python and venv.
# Of a machine that runs shops and no control plane:
_HOST: Mapping[str, Check] = {
    "crun": _programs("crun"),
    "skopeo": _programs("skopeo"),
    "zstd": _programs("zstd"),
    "nftables": _programs("nft"),
    "btrfs-progs": _programs("mkfs.btrfs"),
    "iproute2": _programs("ip", "ss"),
    "procps": _programs("ps"),
    "ca-certificates": _files("/etc/ssl/certs/ca-certificates.crt"),
}
_SERVER: Mapping[str, Check] = {
    **_HOST,
    "postgresql": _files("/usr/lib/postgresql/*/bin/postgres"),
    "redis-server": _programs("redis-server"),
    "haproxy": _programs("haproxy"),
    "podman": _programs("podman"),
    "gettext": _programs("msgfmt"),
    "curl": _programs("curl"),
    "uidmap": _programs("newuidmap"),
}
_DEVELOPER: Mapping[str, Check] = {
    **_SERVER,
    "shellcheck": _programs("shellcheck"),
    "docker-compose": _compose,
    "chromium": _programs("chromium"),
    "git": _programs("git"),
    "docker-registry": _programs("docker-registry"),
    "apache2-utils": _programs("htpasswd"),
    "busybox-static": lambda: os.access("/bin/busybox", os.X_OK),
    "openssl": _programs("openssl"),
    "prometheus": _programs("promtool"),
}
KINDS: Mapping[str, Mapping[str, Check]] = {
    "host": _HOST,
    "server": _SERVER,
    "developer": _DEVELOPER,
}


def ensure(kind: str, say: Steps) -> None:
    """Install what such a machine lacks. InstallError when that cannot be done."""
    needs = KINDS[kind]
    missing = [package for package, is_there in needs.items() if not is_there()]
    if not missing:
        return
    names = " ".join(missing)
    if not shutil.which("apt-get"):
        raise InstallError(
            f"missing: {names}",
            "this machine has no apt-get; packages are installed on Debian and Ubuntu only",
        )
    if os.geteuid() != 0:
        raise InstallError(f"missing packages: {names}", "install them, or run this as root")
    say(f"installing {names}")
    install(missing)
    for package in missing:
        if not needs[package]():
            raise InstallError(
                f"the package {package} was installed, but what it brings is not there"
            )


def install(packages: Sequence[str]) -> None:
    """Install these packages; their services do not start. InstallError when apt cannot."""
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = Path(tempfile.mkstemp(prefix="stoa-apt-")[1])
    try:
        with _no_service_starts():
            for words in (("update",), ("install", "--no-install-recommends", *packages)):
                if logged([*_APT, *words], log, env=environ):
                    complain(tail(log, 20))
                    raise InstallError(
                        f"apt-get could not install: {' '.join(packages)}",
                        "see above; is a package mirror configured and reachable?",
                    )
    finally:
        log.unlink(missing_ok=True)
    if _SYSTEMD.is_dir():
        for unit in set(_SERVICES).intersection(packages):  # nor with the next boot
            subprocess.run(["systemctl", "disable", "--quiet", unit], check=False)


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Stoa runs its own PostgreSQL and Redis, and 5432 may be another program's port."""
    # One that an installer of ours left behind when it was killed is ours to remove.
    is_ours = not _GUARD.exists() or _GUARD.read_text() == _GUARD_TEXT
    if is_ours:
        _GUARD.write_text(_GUARD_TEXT)
        _GUARD.chmod(0o755)
    try:
        yield
    finally:
        if is_ours:
            _GUARD.unlink(missing_ok=True)
