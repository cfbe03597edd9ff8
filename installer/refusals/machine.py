"""Whether settings fit this machine. Each check changes nothing, and names what to do."""

import os
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

from installer.installation import Installation
from installer.machine import networks, virtualenv
from installer.progress import InstallError
from runtime.network.firewalls import why_not_here
from settings import common, control, edges, hosts, inner
from settings.kinds import bytes_of

_MIB = 1 << 20
# PostgreSQL, images, logs and Python packages; what is added when they are there.
_FIRST_MIB, _AGAIN_MIB = 1500, 200
_OTHER_NETWORKS = {hosts.SUBNET.name: "100.97.0.0/16", hosts.LAB_SUBNET.name: "198.18.32.0/19"}
_CHECK_SECONDS = 120.0


def refuse_ordinary_user(program: str, why: str = "") -> None:
    """InstallError when this does not run as root."""
    if os.geteuid() != 0:
        raise InstallError(f"this must run as root{why}", f"run: sudo bin/{program}")


def refuse_missing_password(of: Installation) -> None:
    """InstallError when a mail server wants a password that is not there."""
    file = inner.SECRETS_DIR.of(of.environ) / "smtp-password"
    if "@" in control.SMTP_URL.text(of.environ) and not _has_content(file):
        raise InstallError(
            f"{control.SMTP_URL.name} names a user, and {file} is not there",
            f"write the password into it: install -m 0600 /dev/stdin {file}",
        )


def refuse_networks(of: Installation) -> None:
    """InstallError when the machine itself has a network of ours: shops' addresses would hide it."""
    wanted = [hosts.SUBNET, *([hosts.LAB_SUBNET] if of.has_further_hosts else [])]
    for network, device in networks.foreign():
        for setting in wanted:
            if IPv4Network(setting.of(of.environ)).overlaps(network):
                raise InstallError(
                    f"{setting.name} is {setting.text(of.environ)}, and this machine has the network"
                    f" {network} at its interface {device}",
                    f"give another network, for example {setting.name}={_OTHER_NETWORKS[setting.name]}",
                )


def refuse_full_disk(of: Installation) -> None:
    """InstallError when what will be written does not fit."""
    needed = _AGAIN_MIB if (of.var / "postgres/data").is_dir() else _FIRST_MIB
    stores = sum(_stores(of)) // _MIB
    place = next(folder for folder in (of.var, *of.var.parents) if folder.is_dir())
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize // _MIB
    larger = f"set {inner.VAR.name} to a directory on a larger disk"
    if free < needed:
        raise InstallError(
            f"{of.var} has {free} MB free; bin/up needs {needed} MB", f"free some, or {larger}"
        )
    if free < needed + stores:
        smaller = (free - needed) // 2 if free > needed + 600 else 256
        name = hosts.STORE_BYTES.name
        raise InstallError(
            f"{of.var} has {free} MB free; the stores for shops' data want {stores} MB and bin/up"
            f" {needed} MB more",
            f"smaller: {name}={smaller}M bin/up; none: {name}=0 bin/up",
            f"or {larger}",
        )


def _stores(of: Installation) -> list[int]:
    """Sizes of the stores that are chosen and not there yet."""
    own = hosts.STORE_BYTES.text(of.environ)
    sizes = [bytes_of(own)] if own and not (of.var / "host/store.img").exists() else []
    further = hosts.LAB_STORE_BYTES.text(of.environ)
    for number in range(2, hosts.HOSTS.of(of.environ) + 1):
        if further and not (of.var / f"hosts/host{number}/state/store.img").exists():
            sizes.append(bytes_of(further))
    return sizes


def refuse_foreign_address(of: Installation) -> None:
    """InstallError when hosts are to reach this machine at an address that it does not have."""
    address = common.POOL_ADDRESS.of(of.environ)
    if address and not of.has_further_hosts and why_not_here(address):
        raise InstallError(
            f"{common.POOL_ADDRESS.name} is {address}, which no interface of this machine has",
            f"the addresses it has: {' '.join(networks.addresses())}",
        )


def refuse_taken_ports(of: Installation) -> None:
    """InstallError when another program listens where one of ours will."""
    taken = networks.listeners()
    for setting in (common.HTTP_PORT, edges.PROXY_PORT):
        if (chosen := setting.of(of.environ)) is not None:
            _refuse_taken(taken, chosen, setting.name, +1)
    # Where edges ask whether the host lives, at its own address: another host has the port at another.
    own, probe = str(hosts.SUBNET.of(of.environ)[1]), hosts.PROBE_PORT
    _refuse_taken(taken, probe.of(of.environ), probe.name, -1, address=own)
    base = common.PORT_BASE.of(of.environ)
    for port in range(base + 1, base + 7):
        _refuse_taken(taken, port, common.PORT_BASE.name, base + 100 - port)


def refuse_taken_port(port: int, name: str) -> None:
    """InstallError when another program listens at this port; name: of the setting that chose it."""
    _refuse_taken(networks.listeners(), port, name, +1)


def _refuse_taken(
    taken: list[networks.PortHolder], port: int, name: str, step: int, *, address: str = ""
) -> None:
    for holder in taken:
        if holder.is_in_the_way(port, address):
            raise InstallError(
                f"port {port} is taken by {holder.holder}",
                f"stop it, or choose another: {name}={port + step} bin/up",
            )


def refuse_as_programs_do(of: Installation) -> bool:
    """InstallError for a setting that programs refuse; False where nobody can be asked yet."""
    secrets = inner.SECRETS_DIR.of(of.environ)
    keys = (secrets / "fernet-key", secrets / "django-secret-key")
    if not virtualenv.PYTHON.exists() or not all(map(_has_content, keys)):
        return False
    given = {
        "DATABASE_URL": "postgres:///none",
        inner.BROKER_URL.name: "redis://127.0.0.1/0",
        inner.PROGRAM.name: "manage",
        "PYTHONPATH": str(inner.REPO),
    }
    done = subprocess.run(
        [str(virtualenv.PYTHON), "-m", "deploy.check_settings"],
        cwd=inner.REPO,
        env={**of.environ, **given},
        check=False,
        capture_output=True,
        text=True,
        timeout=_CHECK_SECONDS,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()[-3:]
        raise InstallError("a setting is not as it must be", *said)
    return True


def _has_content(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except OSError:
        return False
