"""runc called as an engine would call it, with an overlay and no network: the floor under Docker."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.parts.images import BUSYBOX
from bench.parts.peers import Room, Started, output, room

RUNC = "/usr/sbin/runc"
_START = """
d=$0/c$1; mkdir -p $d/upper $d/work $d/rootfs
mount -t overlay overlay -o lowerdir=$0/lower,upperdir=$d/upper,workdir=$d/work $d/rootfs
sed "s/@NAME@/shop$1/" $0/config.json > $d/config.json
exec RUNC --root $0/state run --detach --bundle $d --pid-file $d/pid shop$1 </dev/null >$d/log 2>&1
"""


class Runc:
    """Containers of the tiny image, each in a network namespace that leads nowhere."""

    name = "runc, no network"

    def __init__(self, place: Room) -> None:
        self.place = place
        lower = place.work / "lower"
        for name in ("bin", "www", "proc", "dev", "sys"):
            (lower / name).mkdir(parents=True)
        shutil.copy(BUSYBOX, lower / "bin" / "busybox")
        (lower / "www" / "healthz").write_text("well\n")
        output(place.command(RUNC, "spec", "--bundle", str(place.work)))
        path = place.work / "config.json"
        config = json.loads(path.read_text())
        config["process"]["terminal"] = False
        config["process"]["args"] = ["/bin/busybox", "httpd", "-f", "-p", "8000", "-h", "/www"]
        config["process"].pop("rlimits", None)  # asks for more files than root may have here
        config["root"] = {"path": "rootfs", "readonly": False}
        config["linux"]["cgroupsPath"] = f"/{place.cgroup}/@NAME@"
        path.write_text(json.dumps(config))

    def run(self, number: int, every_seconds: float) -> Started:
        """Mount and start; nobody can ask a container without a network, so both times are the same."""
        begun = time.monotonic()
        script = _START.replace("RUNC", RUNC)
        output(self.place.command("sh", "-ec", script, str(self.place.work), str(number)))
        took = (time.monotonic() - begun) * 1000
        return Started(took, took)

    def stop(self, number: int) -> float:
        """Kill and wait for the end."""
        begun = time.monotonic()
        pid = int((self.place.work / f"c{number}" / "pid").read_text())
        self._runc("kill", f"shop{number}", "KILL")
        # Nobody collects it inside the room: a zombie has ended, too.
        script = f"while grep -qs '^State:.[^ZX]' /proc/{pid}/status; do sleep 0.001; done"
        output(self.place.command("sh", "-c", script))
        return (time.monotonic() - begun) * 1000

    def remove(self, number: int) -> float:
        """Delete the container, its mount and its directory."""
        begun = time.monotonic()
        self._runc("delete", f"shop{number}")
        directory = self.place.work / f"c{number}"
        output(self.place.command("umount", str(directory / "rootfs")))
        shutil.rmtree(directory)
        return (time.monotonic() - begun) * 1000

    def pids(self) -> list[int]:
        """The containers' processes, as the host numbers them."""
        trees = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/pids"))
        files = [
            file for tree in trees for file in (tree / self.place.cgroup).rglob("cgroup.procs")
        ]
        return sorted({int(pid) for file in files for pid in file.read_text().split()})

    def _runc(self, *argv: str) -> None:
        output(self.place.command(RUNC, "--root", str(self.place.work / "state"), *argv))


@contextmanager
def runc() -> Iterator[Runc]:
    """runc with a root file system unpacked for it."""
    with room("runc") as place:
        if not os.access(RUNC, os.X_OK):
            raise SystemExit(f"{RUNC} is not there; it comes with the package runc")
        yield Runc(place)
