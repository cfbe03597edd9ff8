"""A host of the tests' own: a keeper in a process, a small image, and a look at what is really there."""

import glob
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Network
from pathlib import Path

from runtime import network
from runtime.bundle import first_id
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.crun import CrunDriver
from runtime.disk import Spaces, loop
from runtime.image import ImageStore
from runtime.keeper.client import KeeperClient
from runtime.specs import InstanceSpec
from runtime.units import MIB, Limits
from tests.runtime.image.layouts import Entry, directory, layer, symlink, write_layout
from tests.support import leftovers, network_parts

BUSYBOX = Path("/bin/busybox")
ROOT = Path(__file__).resolve().parents[2]
PORTS = range(20000, 30000)

# What the test program does is chosen by MODE, so that one image serves every test.
_PROGRAM = rb"""#!/bin/sh
echo "starting as $MODE"
case "$MODE" in
  ends) echo "cannot go on" >&2; exit 3 ;;
  sick) exec /bin/httpd -f -p "$PORT" -h /bin ;;
  deaf) while :; do sleep 1; done ;;
  elsewhere) PORT="$ELSEWHERE" ;;
  polite) trap 'echo "going"; exit 7' TERM; /bin/httpd -f -p "$PORT" -h /www & while :; do sleep 1; done ;;
  slow) sleep 1 ;;
  writer) echo hello >/data/greeting || exit 9 ;;
  chatty) i=0; while [ $i -lt 20000 ]; do echo "line $i of a program that never stops"; i=$((i+1)); done ;;
esac
exec /bin/httpd -f -p "$PORT" -h /www
"""
_COMMANDS = (
    "sh", "httpd", "sleep", "cat", "ls", "id", "mount", "wget", "nc", "ps", "kill", "unshare", "mkdir",
    "env", "hostname", "mknod", "touch", "chown", "chmod", "dd", "stat", "ip", "mkfifo", "ulimit", "yes",
)  # fmt: skip


def write_test_image(
    to: Path,
    *,
    user: str = "1000:1000",
    mark: str = "",
    above: Sequence[bytes] = (),
    working_dir: str = "",
    volumes: Sequence[str] = (),
) -> str:
    """Write an OCI layout whose program is the shell script above; returns its digest.

    above: further layers. volumes: what it declares as VOLUME.
    """
    content = layer(
        directory("bin"),
        directory("etc"),
        directory("www"),
        Entry("bin/busybox", BUSYBOX.read_bytes(), mode=0o755),
        *(symlink(f"bin/{name}", "busybox") for name in _COMMANDS),
        Entry("bin/program", _PROGRAM, mode=0o755),
        Entry("etc/passwd", b"root:x:0:0::/:/bin/sh\nshop:x:1000:1000::/:/bin/sh\n"),
        Entry("www/healthz", b"well\n"),
        Entry("www/mark", mark.encode()),
    )
    config = {
        "Cmd": ["/bin/program"], "User": user, "Env": ["PATH=/bin"], "WorkingDir": working_dir,
        "Volumes": {path: {} for path in volumes},
    }  # fmt: skip
    return write_layout(to, [content, *above], config=config, name=f"test{mark}")


@dataclass
class Host:
    """One private host: state directory, scope, subnet and keeper."""

    state_dir: Path
    config: HostConfig = field(init=False)
    process: subprocess.Popen[bytes] | None = None
    digest: str = ""
    first_port: int = 0

    def __post_init__(self) -> None:
        name = secrets.token_hex(2)
        # Ids follow from the port and are the machine's: another Stoa here begins at its first port.
        self.first_port = PORTS.start + 500 + secrets.randbelow(900) * 10
        self.config = HostConfig(
            name=f"h{name}",
            scope=leftovers.scope(),
            state_dir=self.state_dir,
            # Not among those of whole Stoas (tests/stoa.py), which run beside this.
            subnet=IPv4Network(f"100.{64 + int(name, 16) % 32}.0.0/16"),
            ports=PORTS,
        )

    @property
    def environ(self) -> dict[str, str]:
        """The STOA_* variables that describe this host."""
        config = self.config
        return {
            **os.environ,
            "STOA_HOST_NAME": config.name,
            "STOA_SCOPE": config.scope,
            "STOA_HOST_STATE": str(config.state_dir),
            "STOA_SUBNET": str(config.subnet),
            "STOA_PORTS": f"{config.ports.start}-{config.ports.stop - 1}",
            "STOA_RESOLVER": str(config.resolver or ""),
        }

    @property
    def images(self) -> ImageStore:
        return ImageStore(self.state_dir / "images")

    @property
    def cgroups(self) -> Cgroups:
        return Cgroups.detect(self.config)

    @property
    def spaces(self) -> Spaces:
        return Spaces(self.state_dir)

    def make_store(self, size: int = 512 * MIB) -> None:
        """Give the host a store of its own that enforces disk limits, before its keeper starts."""
        self.config.state_dir.chmod(0o700)
        store = loop.ensure(self.state_dir, size)
        assert store.kind == "btrfs", store

    def driver(self) -> CrunDriver:
        """A driver as a freshly started agent has it."""
        return CrunDriver(self.config)

    def start_keeper(self, cwd: Path = ROOT) -> None:
        """Start the keeper, of the code below cwd, and wait until it answers."""
        log = (self.state_dir / "keeper.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "runtime.keeper"], env=self.environ, cwd=cwd, stderr=log
        )
        log.close()
        wait_until(self._answers, seconds=10, what="the keeper answers")

    def _answers(self) -> bool:
        try:
            KeeperClient(self.config.keeper_socket).ask("ping")
        except Exception:  # noqa: BLE001 - anything means: not yet
            return False
        return True

    def end_keeper(self, number: int = signal.SIGTERM) -> None:
        """Send the keeper a signal and wait for its end."""
        if self.process:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def close(self) -> None:
        """End everything of this host; nothing is left on the machine but files in the test's directory."""
        self.end_keeper()
        self.cgroups.remove_scope()
        network.remove_host(self.config)
        loop.release(self.state_dir)

    def spec(self, number: int = 0, **changes: object) -> InstanceSpec:
        """A spec of the test image; the number chooses id and port, MODE goes into env."""
        mode = str(changes.pop("mode", "well"))
        values: dict[str, object] = {
            "instance_id": f"ins_test{number:06d}",
            "tenant": f"shop-{number}",
            "image_digest": self.digest,
            "published_port": self.first_port + number,
            "ceilings": Limits(1000, 64 * MIB, 64, 100 * MIB),
            "env": (("MODE", mode),),
            "health_timeout_seconds": 10.0,
            # Tests begin with shops that never had data.
            "new_volume": True,
            **changes,
        }
        return InstanceSpec(**values)  # type: ignore[arg-type]

    def spare_image(self, *, is_young: bool = False) -> str:
        """Import an image that no instance uses; is_young: asked for just now, else hours ago."""
        layout = self.state_dir.parent / f"spare-{secrets.token_hex(4)}"
        write_layout(layout, [layer(Entry("note", os.urandom(16)))], name="spare")
        digest = self.images.import_layout(layout, "spare")
        if not is_young:
            self.age_image(digest)
        return digest

    def age_image(self, digest: str) -> None:
        """Let it be hours since somebody asked for an image."""
        name = self.state_dir / "images" / "images" / digest.removeprefix("sha256:") / "name"
        long_ago = time.time() - 7200
        os.utime(name, (long_ago, long_ago))

    def traces(self, spec: InstanceSpec) -> list[str]:
        """Everything on this machine that still belongs to an instance, each as a sentence."""
        ours = f"{self.config.scope}_{self.config.name}"
        found = [f"process {pid} runs" for pid in self.cgroups.pids(spec.instance_id)]
        found += [f"process {pid} has its ids" for pid in self._owned(spec)]
        if spec.instance_id in self.cgroups.instances():
            found.append("a cgroup is there")
        # glob and not Path.glob: other tests remove their cgroups while we look.
        trees = f"/sys/fs/cgroup/**/{ours}*/{spec.instance_id}"
        for tree in glob.glob(trees, recursive=True):  # noqa: PTH207
            found.append(f"cgroup {tree} is there")
        listing = network_parts.listing(self.config)
        veth = network.plan.veth_of(self.config, spec.published_port)
        if veth in listing.interfaces:
            found.append(f"interface {veth} is there")
        if spec.published_port in listing.published:
            found.append(f"port {spec.published_port} is still published")
        if spec.instance_id in Path("/proc/self/mountinfo").read_text():
            found.append("a mount is there")
        if (self.state_dir / "instances" / spec.instance_id).exists():
            found.append("its directory is there")
        found += [f"{place} is there" for place in self._in_store(spec)]
        holders = [one.users for one in self.images.list()]
        if any(spec.instance_id in users for users in holders):
            found.append("its image is still held")
        return found

    def _in_store(self, spec: InstanceSpec) -> list[Path]:
        """Layers of the instance in the store, and its space where no volume keeps that."""
        store = loop.mount_point(self.state_dir)
        return [*store.glob(spec.instance_id), *store.glob(f"*/{spec.instance_id}")]

    def cgroup_files(self, spec: InstanceSpec, *names: str) -> dict[str, Path]:
        """Those of the named kernel files that an instance's cgroup has, in whichever hierarchy."""
        scope = f"{self.config.scope}_{self.config.name}"
        paths = (
            tree / scope / spec.instance_id / name
            for tree in self.cgroups.layout.hierarchies
            for name in names
        )
        return {path.name: path for path in paths if path.exists()}

    def _owned(self, spec: InstanceSpec) -> list[int]:
        """Processes with ids of the instance's range, whatever cgroup they are in."""
        start = first_id(self.config, spec.published_port)
        found = []
        for place in Path("/proc").iterdir():
            if place.name.isdigit():
                try:
                    uid = place.stat().st_uid
                    ended = (place / "stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
                except (FileNotFoundError, ProcessLookupError):
                    continue
                # After its keeper was killed a process that ended may wait for PID 1 to collect it.
                if start <= uid < start + 65536 and not ended:
                    found.append(int(place.name))
        return found

    def containers(self, spec: InstanceSpec) -> int:
        """How many containers of the instance there are: processes that are PID 1 of a namespace."""
        count = 0
        for pid in set(self.cgroups.pids(spec.instance_id)) | set(self._owned(spec)):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            line = next(line for line in status.splitlines() if line.startswith("NSpid:"))
            count += line.split()[1:] == [str(pid), "1"]
        return count


@cache
def lack_of_store() -> str:
    """Why this machine cannot have a store in a file; "" when it can."""
    for needed in (Path("/dev/loop-control"), Path("/usr/bin/mkfs.btrfs")):
        if not needed.exists() and not Path(f"/usr/sbin/{needed.name}").exists():
            return f"no {needed}: stores need loop devices and btrfs-progs"
    if "btrfs" not in Path("/proc/filesystems").read_text():
        return "no btrfs in this kernel"
    return ""


def fetch(address: str, port: int, path: str = "/healthz") -> bytes:
    """The raw answer to a GET; b"" when the connection is refused or silent."""
    try:
        with socket.create_connection((address, port), 2) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
            return answer
    except OSError:
        return b""


def wait_until(
    true: "object", *, seconds: float = 10.0, what: str = "it comes true", pause: float = 0.01
) -> None:
    """Return once the callable gives something true; AssertionError after seconds."""
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        time.sleep(pause)
