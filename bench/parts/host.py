"""A host of the benchmark's own: a keeper in a process, driven as an agent drives it."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from bench.parts.common import REPO, wait_for_200
from bench.parts.peers import Image, Started
from runtime import network
from runtime.cgroup import Cgroups
from runtime.config import HostConfig
from runtime.crun import CrunDriver
from runtime.disk import loop
from runtime.driver import Driver
from runtime.errors import RuntimeCoreError
from runtime.image import ImageStore
from runtime.keeper.client import KeeperClient
from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.system.trees import remove_tree
from runtime.units import GIB, MIB, Limits

FENCE = Fence(1, 1)
LIMITS = Limits(cpu_millis=1000, memory_bytes=64 * MIB, pids=64, disk_bytes=256 * MIB)
_PORTS = range(22000, 30000)
_KEEPER_SECONDS = 10.0


@dataclass
class Host:
    """config: of a private host whose keeper runs as `keeper`; driver: what starts containers there."""

    config: HostConfig
    keeper: subprocess.Popen[bytes]
    driver: Driver
    digest: str = ""
    environ: dict[str, str] = field(default_factory=dict)

    def take(self, image: Image, name: str) -> str:
        """Put an image into the host's store; specs run the last one that was taken."""
        self.digest = ImageStore(self.config.state_dir / "images").import_layout(image.layout, name)
        return self.digest

    def spec(self, number: int, **changes: object) -> InstanceSpec:
        """The spec of container `number` with the starter plan's limits."""
        values: dict[str, object] = {
            "instance_id": f"ins_bench{number:06d}",
            "tenant": f"bench{number}",
            "image_digest": self.digest,
            "published_port": _PORTS.start + number,
            "ceilings": LIMITS,
            "new_volume": True,
            **changes,
        }
        return InstanceSpec(**values)  # type: ignore[arg-type]

    def address(self, number: int) -> tuple[str, int]:
        """Where container `number` answers."""
        return str(self.config.address), _PORTS.start + number

    def run(self, number: int, every_seconds: float, **changes: object) -> Started:
        """Start a container and wait for its first 200 through its published port."""
        begun = time.monotonic()
        self.driver.ensure_running(self.spec(number, **changes), fence=FENCE)
        returned = time.monotonic()
        address = self.address(number)
        answered = wait_for_200(address, "localhost", "/healthz", every_seconds=every_seconds)
        return Started((returned - begun) * 1000, (answered - begun) * 1000)

    def stop(self, number: int) -> float:
        """End a container at once; milliseconds until it has ended."""
        begun = time.monotonic()
        self.driver.ensure_stopped(self.spec(number).instance_id, fence=FENCE, grace_seconds=0.0)
        return (time.monotonic() - begun) * 1000

    def remove(self, number: int) -> float:
        """Remove a container and its volume; milliseconds until nothing is left."""
        begun = time.monotonic()
        self.driver.ensure_absent(
            self.spec(number).instance_id, fence=FENCE, volume=VolumeFate.DELETE, grace_seconds=0.0
        )
        return (time.monotonic() - begun) * 1000

    def pids(self) -> list[int]:
        """Every process inside a container of this host."""
        cgroups = Cgroups.detect(self.config)
        return [pid for instance in cgroups.instances() for pid in cgroups.pids(instance)]


@contextmanager
def host(*, store_bytes: int = 2 * GIB) -> Iterator[Host]:
    """A private host for as long as the block lasts; nothing of it is left afterwards."""
    place = Path(tempfile.mkdtemp(prefix="stoa-bench-host-", dir="/var/tmp"))
    # One of its own: two benches with one subnet would answer each other's questions.
    subnet = IPv4Network(f"100.{64 + secrets.randbelow(30)}.0.0/16")
    config = HostConfig(f"b{secrets.token_hex(2)}", "bench", place / "host", subnet, _PORTS)
    config.state_dir.mkdir(mode=0o700)
    if store_bytes:
        loop.ensure(config.state_dir, store_bytes)
    environ = {
        **{key: value for key, value in os.environ.items() if not key.startswith("STOA_")},
        "STOA_HOST_NAME": config.name,
        "STOA_SCOPE": config.scope,
        "STOA_HOST_STATE": str(config.state_dir),
        "STOA_SUBNET": str(config.subnet),
        "STOA_PORTS": f"{_PORTS.start}-{_PORTS.stop - 1}",
    }
    with (place / "keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "runtime.keeper"], env=environ, cwd=REPO, stderr=log
        )
    try:
        _await_keeper(config)
        yield Host(config, keeper, CrunDriver(config), environ=environ)
    finally:
        keeper.send_signal(signal.SIGTERM)
        keeper.wait(120)
        Cgroups.detect(config).remove_scope()
        network.remove_host(config)
        loop.release(config.state_dir)
        remove_tree(place)


def _await_keeper(config: HostConfig) -> None:
    deadline = time.monotonic() + _KEEPER_SECONDS
    while True:
        try:
            KeeperClient(config.keeper_socket).ask("ping")
        except RuntimeCoreError as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"the keeper does not answer: {error}") from error
            time.sleep(0.05)
        else:
            return
