"""Running a command inside a container.

crun wants its own record of a container for that. None is kept (the cgroup is the truth), so one is
written for the moment from the bundle and the container's process.
"""

import json
import os
import shlex
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.bundle import (
    HostFeatures,
    InstanceRecord,
    Launch,
    compiled_profile,
    environment,
    oci_config,
    process_config,
    render,
)
from runtime.config import HostConfig
from runtime.errors import CommandFailedError, HostError, InputError
from runtime.statuses import ExecResult
from runtime.system.commands import run_unchecked

_CRUN = "/usr/bin/crun"
_SHELLS = frozenset({"sh", "bash", "ash", "dash", "zsh"})


def execute(
    config: HostConfig,
    record: InstanceRecord,
    argv: tuple[str, ...],
    *,
    pid: int,
    cgroup: str,
    timeout_seconds: float,
) -> ExecResult:
    """Run argv as the container's own user, under its seccomp profile, in its cgroup.

    pid: the container's first process. CommandFailedError when the time limit passes; the command is
    killed then. InputError when the image has no such program.
    """
    with doorway(config, record, argv, pid=pid, cgroup=cgroup) as door:
        try:
            done = run_unchecked(*door.command, timeout=timeout_seconds)
        except CommandFailedError:
            door.kill()
            raise CommandFailedError(
                f"{argv[0]} in {record.spec.instance_id} did not end within {timeout_seconds:g} s"
                " and was killed",
                argv=list(argv),
            ) from None
        door.check(done.exit_code)
    return ExecResult(exit_code=done.exit_code, output=done.output)


@dataclass(frozen=True, slots=True)
class Doorway:
    """All that is ready for one command: what to execute here so that argv runs inside."""

    root: Path
    record: InstanceRecord
    argv: tuple[str, ...]
    command: tuple[str, ...]

    @property
    def console(self) -> Path:
        """The socket on which crun hands over the terminal it made inside."""
        return self.root / "console"

    def kill(self) -> None:
        """End the command inside; no-op if it has ended or was never there."""
        with suppress(FileNotFoundError, ValueError, ProcessLookupError):
            os.kill(int((self.root / "pid").read_text()), signal.SIGKILL)

    def check(self, exit_code: int) -> None:
        """Raise when it was crun that failed, not the command; InputError when there is no such program."""
        messages = self.root / "messages"
        said = messages.read_text().strip() if messages.exists() else ""
        if exit_code == 0 or not said:
            return
        where = f"the image of {self.record.spec.tenant} ({self.record.spec.instance_id})"
        if "executable file" in said or "No such file or directory" in said:
            hint = ""
            if self.argv[0].rpartition("/")[2] in _SHELLS:
                hint = ": it may hold no shell at all; name a program it holds"
            raise InputError(f"{where} has no {self.argv[0]!r}{hint}")
        raise CommandFailedError(
            f"{self.argv[0]} could not be run in {self.record.spec.instance_id}: {said[-400:]}",
            argv=list(self.argv),
        )


@contextmanager
def doorway(
    config: HostConfig,
    record: InstanceRecord,
    argv: tuple[str, ...],
    *,
    pid: int,
    cgroup: str,
    terminal: str = "",
) -> Iterator[Doorway]:
    """Prepare a command inside: the container's user, capabilities, seccomp profile, cgroup and rlimits.

    terminal: the kind (TERM) of the terminal it gets, "" for none.
    """
    with tempfile.TemporaryDirectory(prefix="stoa-exec-") as place:
        root = Path(place)
        _write_crun_state(root, record, pid=pid, cgroup=cgroup)
        profile = compiled_profile(config)
        if not profile:  # without one crun would let the command do anything
            raise HostError(
                "this host's compiled seccomp profile is missing or damaged; its next start of any"
                " container makes it anew, then repeat the command"
            )
        (root / record.spec.instance_id / "seccomp.bpf").write_bytes(profile)
        process = process_config(record.spec, record.program)
        process["args"] = list(argv)
        console: tuple[str, ...] = ()
        if terminal:
            process["terminal"] = True
            process["env"] = [f"TERM={terminal}", *environment(record.spec, record.program)]
            console = ("--tty", "--console-socket", str(root / "console"))
        (root / "process.json").write_text(json.dumps(process))
        command = shlex.join(
            (_CRUN, "--root", str(root), "--cgroup-manager", "cgroupfs",
             "--log", str(root / "messages"),
             "exec", *console, "--pid-file", str(root / "pid"),
             "--process", str(root / "process.json"), record.spec.instance_id)
        )  # fmt: skip
        # As in a start: crun 1.8 refuses hosts that show cgroup v2 beside v1.
        script = f"umount -l /sys/fs/cgroup/unified 2>/dev/null; exec {command}"
        apart = ("unshare", "--mount", "--propagation", "private", "sh", "-c", script)
        yield Doorway(root, record, argv, apart)


def _write_crun_state(root: Path, record: InstanceRecord, *, pid: int, cgroup: str) -> None:
    launch = Launch(
        rootfs="/",
        volume="",
        cgroup=cgroup,
        user_namespace=f"/proc/{pid}/ns/user",
        network_namespace=f"/proc/{pid}/ns/net",
    )
    config = oci_config(record.spec, record.program, launch, HostFeatures(swap_accounting=False))
    ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    state = root / record.spec.instance_id
    state.mkdir()
    (state / "config.json").write_text(render(config))
    (state / "status").write_text(
        json.dumps(
            {
                "pid": pid,
                "process-start-time": int(ticks),
                "cgroup-path": cgroup,
                "scope": "",
                "intelrdt": "",
                "rootfs": "/",
                "systemd-cgroup": False,
                "bundle": str(root),
                "created": "2000-01-01T00:00:00.000000Z",
                "detached": True,
                "external_descriptors": '["/dev/null","/dev/null","/dev/null"]',
            }
        )
    )
