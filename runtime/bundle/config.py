"""The OCI configuration of an instance, worked out by pure functions and tested without root.

Everything a container may and may not do is decided here: namespaces, ids, capabilities, limits,
what it sees of /proc and /sys. The launcher only hands the result to crun.
"""

import json
import os
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from runtime.config import HostConfig
from runtime.errors import SpecInvalidError
from runtime.specs import InstanceSpec
from runtime.system.files import take_place
from runtime.units import MIB, Limits

IDS_PER_INSTANCE = 65536
OPEN_FILES = 1024
TERMINALS = 16  # the kernel has 4,096 for the whole machine, and one tenant could take them all
OOM_SCORE_ADJUSTMENT = 500
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# For images that start as their own root and drop to another user themselves (nginx and its like).
# In a user namespace of its own these reach no further than the instance's own ids; an image that
# names an unprivileged user gets none at all.
_ROOT_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_NET_BIND_SERVICE",
)
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class HostFeatures:
    """What differs between hosts and shows in a bundle.

    swap_accounting: whether swap can be limited. io_devices: the disks under the state directory, on
    which reading and writing can be limited; () where the kernel has no such controller.
    """

    swap_accounting: bool
    io_devices: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Launch:
    """Where the launcher has put what the container is made of.

    user_namespace and network_namespace are paths crun can open; volume is "" for none. kept: where the
    image's own VOLUMEs belong, and what is to be mounted there.
    """

    rootfs: str
    volume: str
    cgroup: str
    user_namespace: str
    network_namespace: str
    kept: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """What the image says is to be run, and as whom. volumes: directories it wants kept besides /data."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    working_dir: str
    uid: int
    gid: int
    stop_signal: str = "SIGTERM"
    volumes: tuple[str, ...] = ()


def first_id(config: HostConfig, published_port: int) -> int:
    """Return the host's first uid and gid of the instance on a published port; IDS_PER_INSTANCE follow.

    Worked out from the port, so there is no allocator to lose: two instances share a range only when
    they share a port. SpecInvalidError when the port is not one of this host's.
    """
    if published_port not in config.ports:
        raise SpecInvalidError(
            f"published_port is {published_port}; this host publishes "
            f"{config.ports.start} to {config.ports.stop - 1}",
            field="published_port",
        )
    return IDS_PER_INSTANCE * (1 + published_port - config.ports.start)


def oci_config(
    spec: InstanceSpec, program: Program, launch: Launch, features: HostFeatures
) -> dict[str, object]:
    """Return the whole OCI runtime configuration but for seccomp, which render adds as ready-made text."""
    return {
        "ociVersion": "1.0.2",
        "root": {"path": launch.rootfs, "readonly": not spec.writable_root},
        "hostname": spec.tenant,
        "process": process_config(spec, program),
        "mounts": _mounts(launch),
        "linux": {
            "namespaces": [
                {"type": "user", "path": launch.user_namespace},
                {"type": "network", "path": launch.network_namespace},
                {"type": "pid"},
                {"type": "ipc"},
                {"type": "uts"},
                {"type": "mount"},
                {"type": "cgroup"},
            ],
            "cgroupsPath": launch.cgroup,
            "resources": _resources(spec, features),
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
            "rootfsPropagation": "private",
        },
    }


def render(config: dict[str, object], compiled: bytes = b"") -> str:
    """Return the configuration as crun reads it, with the seccomp profile put in.

    compiled: the profile as crun compiled it in an earlier start on this host, b"" when there was
    none yet: then the profile's text goes in. Compiling costs 3 ms of each start.
    """
    text = json.dumps(config, separators=(",", ":"))
    if compiled:
        ready = f'{{"run.oci.seccomp_bpf_data":"{b64encode(compiled).decode()}"}}'
        return f'{{"annotations":{ready},{text[1:]}'
    marker = '"linux":{'
    return text.replace(marker, f'{marker}"seccomp":{seccomp_profile()},', 1)


def compiled_profile(config: HostConfig) -> bytes:
    """Return the profile as crun compiled it in an earlier start on this host, b"" when there is none that is
    whole.

    A damaged one would fail every start of the host. One without a sum is of an older version.
    """
    path = _compiled_path(config)
    try:
        compiled = path.read_bytes()
        is_whole = not os.path.lexists(_sum_of(path)) or _sum_of(path).read_text() == _sum(compiled)
    except (OSError, ValueError):
        return b""
    return compiled if is_whole else b""


def keep_compiled_profile(config: HostConfig, compiled: bytes) -> None:
    """Keep it for later starts and for exec."""
    path = _compiled_path(config)
    for place, content in ((path, compiled), (_sum_of(path), _sum(compiled).encode())):
        beside = path.with_name(f".{place.name}.{os.getpid()}")
        beside.write_bytes(content)
        take_place(beside, place)


def _compiled_path(config: HostConfig) -> Path:
    """Return the path of the compiled profile; another profile has another name."""
    return config.state_dir / f"seccomp-{crc32(seccomp_profile().encode()):08x}.bpf"


def _sum_of(path: Path) -> Path:
    return path.with_suffix(".sum")


def _sum(compiled: bytes) -> str:
    return sha256(compiled).hexdigest()


@cache
def seccomp_profile() -> str:
    """Return our own profile: an allow-list for the native architecture, without white space."""
    profile = json.loads(Path(__file__).with_name("seccomp.json").read_text())
    return json.dumps(profile, separators=(",", ":"))


def process_config(spec: InstanceSpec, program: Program) -> dict[str, object]:
    """Return the process part of the configuration; commands run inside later get the same with
    other argv.
    """
    kept = list(_ROOT_CAPABILITIES) if program.uid == 0 else []
    disk = spec.ceilings.disk_bytes
    return {
        "terminal": False,
        "user": {"uid": program.uid, "gid": program.gid, "additionalGids": []},
        "args": list(program.argv),
        "env": environment(spec, program),
        "cwd": program.working_dir or "/",
        "capabilities": {
            "bounding": kept,
            "effective": kept,
            "inheritable": [],
            "permitted": kept,
            "ambient": [],
        },
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": OPEN_FILES, "hard": OPEN_FILES},
            # 1, not 0: where core_pattern is a program, the kernel runs it (as the host's root) at 0.
            {"type": "RLIMIT_CORE", "soft": 1, "hard": 1},
            {"type": "RLIMIT_FSIZE", "soft": disk, "hard": disk},
        ],
        "noNewPrivileges": True,
        "oomScoreAdj": OOM_SCORE_ADJUSTMENT,
    }


def environment(spec: InstanceSpec, program: Program) -> list[str]:
    """`NAME=value` for the container: the image's, then the spec's, then PORT, which nobody overrides."""
    merged = {"PATH": DEFAULT_PATH, "HOSTNAME": spec.tenant, **dict(program.env), **dict(spec.env)}
    merged["PORT"] = str(spec.container_port)
    return [f"{name}={value}" for name, value in merged.items()]


def _mounts(launch: Launch) -> list[dict[str, object]]:
    mounts = [
        _mount("/proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "nosuid", "noexec", "strictatime", "mode=755", "size=64k"),
        _mount(
            "/dev/pts",
            "devpts",
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=620",
            f"max={TERMINALS}",
        ),
        _mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", f"size={8 * MIB}"),  # noqa: S108
        _mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        # Pages of this tmpfs count as the instance's memory, so its limit holds here too.
        _mount("/tmp", "tmpfs", "nosuid", "nodev", "mode=1777", f"size={16 * MIB}"),  # noqa: S108
    ]
    kept = [("/data", launch.volume), *launch.kept] if launch.volume else []
    for destination, source in kept:
        mounts.append(
            {
                "destination": destination,
                "type": "bind",
                "source": source,
                "options": ["bind", "rw", "nosuid", "nodev"],
            }
        )
    return mounts


def _mount(destination: str, kind: str, *options: str) -> dict[str, object]:
    return {"destination": destination, "type": kind, "source": kind, "options": list(options)}


def _resources(spec: InstanceSpec, features: HostFeatures) -> dict[str, object]:
    ceilings = spec.ceilings
    memory: dict[str, int] = {"limit": ceilings.memory_bytes}
    if features.swap_accounting:
        memory["swap"] = ceilings.memory_bytes  # memory and swap together: so no swap
    resources: dict[str, object] = {
        "memory": memory,
        "cpu": {
            "shares": ceilings.cpu_shares,
            "quota": ceilings.cpu_quota_micros,
            "period": ceilings.cpu_period_micros,
        },
        "pids": {"limit": ceilings.pids},
        "devices": [{"allow": False, "access": "rwm"}],
    }
    if ceilings.io_bytes_per_second and features.io_devices:
        resources["blockIO"] = _block_io(ceilings, features)
    return resources


def _block_io(ceilings: Limits, features: HostFeatures) -> dict[str, object]:
    rates = [
        {"major": major, "minor": minor, "rate": ceilings.io_bytes_per_second}
        for major, minor in features.io_devices
    ]
    return {"throttleReadBpsDevice": rates, "throttleWriteBpsDevice": rates}
