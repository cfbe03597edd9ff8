"""Docker Engine and podman, started privately to be measured beside Stoa, and gone without a trace after.

Each lives in a room: process, mount and network namespaces of its own. Ending the room's first process
ends everything in it; its bridges, firewall rules and mounts vanish with the namespaces.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.parts.common import REPO, wait_for_200
from runtime.system.syscalls import CLONE_NEWNET, setns

DOCKER, DOCKERD, PODMAN = "/usr/bin/docker", "/usr/sbin/dockerd", "/usr/bin/podman"
_FIRST_PORT = 20000
# An address of the room that is not 127.0.0.1: that one leads through docker-proxy, which, asked a
# moment too early, waits a whole second.
_ADDRESS = "192.0.2.10"
_IMAGE = "localhost/stoa-bench:latest"
_CGROUPS = Path("/sys/fs/cgroup")
# State that Docker and podman keep outside the directories they are given.
_ROOM = """
ip link set lo up
ip address add 192.0.2.10/32 dev lo
mount -t tmpfs tmpfs /run
mkdir -p /var/lib/cni && mount -t tmpfs tmpfs /var/lib/cni
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
echo ready
exec sleep infinity
"""


@dataclass(frozen=True)
class Image:
    """The shop as the image build left it: an OCI layout, and its name inside."""

    layout: Path
    digest: str


def shop_image() -> Image:
    """Build the shop's image, or find it built."""
    cache = os.environ.get("STOA_CACHE", str(REPO / "var" / "cache"))
    lines = output([str(REPO / "images" / "build"), "--cache", cache]).splitlines()
    for line in lines:
        facts = json.loads(line)
        if facts["name"] == "shop":
            return Image(Path(facts["layout"]), facts["digest"])
    raise SystemExit(f"images/build names no image `shop`, it said: {lines}")


def shop_env(slug: str, url: str) -> dict[str, str]:
    """What a shop is told by the platform; the same for every engine."""
    return {
        "PORT": "8000",
        "STOA_TENANT": slug,
        "STOA_SHOP_NAME": "Bench",
        "STOA_LANGUAGE": "en",
        "STOA_CURRENCY": "EUR",
        "STOA_PUBLIC_URL": url,
        "STOA_FIRST_LOGIN_HASH": f"sha256:{'00' * 16}:{'00' * 32}",
    }


@dataclass(frozen=True)
class Started:
    """Milliseconds from the order until the engine said done, and until the first 200."""

    returned_ms: float
    answered_ms: float


@dataclass(frozen=True)
class Room:
    """Namespaces of one peer; pid is their first process, as the host sees it."""

    pid: int
    work: Path
    cgroup: str

    def command(self, *argv: str) -> list[str]:
        """The argv that runs a program inside."""
        return ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--", *argv]

    @contextmanager
    def network(self) -> Iterator[None]:
        """Sockets the calling thread opens in this block belong to the room."""
        ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        theirs = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        try:
            setns(theirs, CLONE_NEWNET)
            yield
        finally:
            setns(ours, CLONE_NEWNET)
            os.close(theirs)
            os.close(ours)


@contextmanager
def room(name: str) -> Iterator[Room]:
    """A room for as long as the block lasts."""
    work = Path(tempfile.mkdtemp(prefix=f"stoa-bench-{name}-", dir="/var/tmp"))
    cgroup = f"stoa-bench-{name}-{os.getpid()}"
    flags = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "--propagation", "private"]
    holder = subprocess.Popen(
        ["unshare", *flags, "--kill-child", "sh", "-ec", _ROOM], stdout=subprocess.PIPE, text=True
    )
    try:
        if holder.stdout is None or holder.stdout.readline() != "ready\n":
            raise SystemExit("could not make namespaces for a peer; run as root")
        first = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()[0]
        yield Room(int(first), work, cgroup)
    finally:
        holder.send_signal(signal.SIGKILL)  # --kill-child takes the first process with it
        holder.wait()
        if holder.stdout:
            holder.stdout.close()
        _remove_cgroups(cgroup)
        _remove_tree(work)


class Engine:
    """A peer that runs containers from a command line."""

    name = ""

    def __init__(self, place: Room) -> None:
        self.place = place

    def cli(self, *argv: str) -> list[str]:
        """The argv of one command of this engine."""
        raise NotImplementedError

    def load(self, image: Image) -> None:
        """Give the engine the shop's image."""
        raise NotImplementedError

    def extra(self) -> Sequence[str]:
        """Options of `run` that only this engine needs on this machine."""
        return ()

    def state(self) -> Path:
        """The directory of everything the engine keeps on disk."""
        raise NotImplementedError

    def start(self, number: int, every_seconds: float, *, volume: bool = False) -> float:
        """Run a shop; milliseconds from the command to the first 200 through its published port."""
        return self.run(number, every_seconds, volume=volume).answered_ms

    def run(self, number: int, every_seconds: float, *, volume: bool = False) -> "Started":
        """Run a shop and wait for its first 200 through its published port."""
        port = _FIRST_PORT + number
        env = shop_env(f"bench{number}", f"http://{_ADDRESS}:{port}")
        argv = self.cli(
            *("run", "--detach", "--name", f"shop{number}", "--publish", f"{port}:8000"),
            *(word for key, value in env.items() for word in ("--env", f"{key}={value}")),
            *(("--volume", f"data{number}:/data") if volume else ()),
            *self.extra(),
            _IMAGE,
        )
        begun = time.monotonic()
        # Asked before the command is done, the kernel looks for the container in vain and looks again
        # only a second later: impatience would make the engine look worse than it is.
        output(argv)
        returned = time.monotonic()
        with self.place.network():
            answered = wait_for_200(
                (_ADDRESS, port), "localhost", "/healthz", every_seconds=every_seconds
            )
        return Started((returned - begun) * 1000, (answered - begun) * 1000)

    def stop(self, number: int) -> float:
        """End a shop at once, without a grace; milliseconds until the command is done."""
        return self._timed("stop", "--time", "0", f"shop{number}")

    def remove(self, number: int) -> float:
        """Remove a stopped shop; milliseconds until the command is done."""
        return self._timed("rm", f"shop{number}")

    def _timed(self, *argv: str) -> float:
        begun = time.monotonic()
        output(self.cli(*argv))
        return (time.monotonic() - begun) * 1000

    def shop_pids(self) -> list[int]:
        """The shops' own processes, as the host numbers them."""
        found = []
        for tree in ("pids", "."):
            for file in (_CGROUPS / tree / self.place.cgroup).rglob("cgroup.procs"):
                found += [int(pid) for pid in file.read_text().split()]
        return sorted(
            pid for pid in set(found) if _program(pid) not in {"conmon", "containerd-shim"}
        )


class Docker(Engine):
    """Docker Engine with a data directory, a socket and a containerd of its own."""

    name = "docker run"

    def cli(self, *argv: str) -> list[str]:
        """As people call it, but for the socket."""
        return [DOCKER, "--host", f"unix://{self.place.work}/sock", *argv]

    def load(self, image: Image) -> None:
        """By way of an archive: there is no registry."""
        archive = self.place.work / "image.tar"
        target = f"docker-archive:{archive}:{_IMAGE}"
        output(["skopeo", "copy", "--quiet", f"oci:{image.layout}", target])
        output(self.cli("load", "--quiet", "--input", str(archive)))
        archive.unlink()

    def state(self) -> Path:
        """The data root."""
        return self.place.work / "data"

    def start_daemon(self) -> None:
        """Start dockerd and wait until it answers."""
        work = self.place.work
        log = (work / "log").open("wb")
        subprocess.Popen(
            self.place.command(
                *(DOCKERD, "--host", f"unix://{work}/sock", "--data-root", str(self.state())),
                *("--exec-root", f"{work}/exec", "--pidfile", f"{work}/pid"),
                *("--storage-driver", "overlay2", "--cgroup-parent", f"/{self.place.cgroup}"),
            ),
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(work)},
        )
        log.close()
        for _ in range(150):
            done = subprocess.run(self.cli("version"), capture_output=True, check=False)
            if done.returncode == 0:
                return
            time.sleep(0.2)
        raise SystemExit(f"dockerd did not start: {(work / 'log').read_text()[-800:]}")


class Podman(Engine):
    """podman with crun and its default bridge network."""

    name = "podman run"

    def cli(self, *argv: str) -> list[str]:
        """As people call it, but for where it keeps things."""
        work = self.place.work
        return self.place.command(
            *(PODMAN, "--root", str(self.state()), "--runroot", f"{work}/run"),
            *("--tmpdir", f"{work}/tmp", "--cgroup-manager", "cgroupfs", "--runtime", "crun"),
            *argv,
        )

    def load(self, image: Image) -> None:
        """Straight from the layout."""
        found = output(self.cli("pull", "--quiet", f"oci:{image.layout}")).split()
        output(self.cli("tag", found[-1], _IMAGE))

    def extra(self) -> Sequence[str]:
        """podman asks for higher limits than a root without CAP_SYS_RESOURCE may give."""
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        return (*limits, "--cgroup-parent", f"/{self.place.cgroup}")

    def state(self) -> Path:
        """The storage root."""
        return self.place.work / "data"


@contextmanager
def docker(image: Image) -> Iterator[Docker]:
    """Docker Engine with the image loaded."""
    with room("docker") as place:
        engine = Docker(place)
        engine.start_daemon()
        engine.load(image)
        yield engine


@contextmanager
def podman(image: Image) -> Iterator[Podman]:
    """podman with the image loaded."""
    with room("podman") as place:
        engine = Podman(place)
        engine.load(image)
        yield engine


def output(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """What a program printed; SystemExit with what it complained of when it failed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv[-4:])} failed: {done.stderr.strip()[-600:]}")
    return done.stdout


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _remove_cgroups(name: str) -> None:
    """Remove the peer's cgroups in every hierarchy; the kernel needs a moment after the last process."""
    tops = [path for path in (_CGROUPS / name, *_CGROUPS.glob(f"*/{name}")) if path.is_dir()]
    for top in tops:
        for directory, _names, _files in os.walk(top, topdown=False):
            for _ in range(200):
                try:
                    Path(directory).rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)


def _remove_tree(work: Path) -> None:
    for _ in range(50):
        with suppress(OSError):
            shutil.rmtree(work)
            return
        time.sleep(0.1)
    shutil.rmtree(work, ignore_errors=True)
