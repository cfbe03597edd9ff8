"""Running a command inside a container.

crun wants its own record of a container for that. None is kept (the cgroup is the truth), so one is
written for the moment from the bundle and the container's process.
"""

import json
import os
import shlex
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from runtime.bundle import (
    HostFeatures,
    InstanceRecord,
    Launch,
    compiled_profile_path,
    oci_config,
    process_config,
    render,
)
from runtime.commands import run_unchecked
from runtime.config import HostConfig
from runtime.driver import ExecResult
from runtime.errors import CommandFailedError

_CRUN = "/usr/bin/crun"


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
    killed then.
    """
    with tempfile.TemporaryDirectory(prefix="stoa-exec-") as place:
        root = Path(place)
        _write_crun_state(root, record, pid=pid, cgroup=cgroup)
        profile = compiled_profile_path(config).read_bytes()
        (root / record.spec.instance_id / "seccomp.bpf").write_bytes(profile)
        process = {**process_config(record.spec, record.program), "args": list(argv)}
        (root / "process.json").write_text(json.dumps(process))
        pid_file = root / "pid"
        command = shlex.join(
            (_CRUN, "--root", str(root), "--cgroup-manager", "cgroupfs",
             "exec", "--pid-file", str(pid_file), "--process", str(root / "process.json"),
             record.spec.instance_id)
        )  # fmt: skip
        # As in a start: crun 1.8 refuses hosts that show cgroup v2 beside v1.
        script = f"umount -l /sys/fs/cgroup/unified 2>/dev/null; exec {command}"
        try:
            done = run_unchecked(
                "unshare", "--mount", "--propagation", "private", "sh", "-c", script,
                timeout=timeout_seconds,
            )  # fmt: skip
        except CommandFailedError:
            _kill(pid_file)
            raise CommandFailedError(
                f"{argv[0]} in {record.spec.instance_id} did not end within {timeout_seconds:g} s"
                " and was killed",
                argv=list(argv),
            ) from None
    return ExecResult(exit_code=done.exit_code, output=done.output)


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


def _kill(pid_file: Path) -> None:
    with suppress(FileNotFoundError, ValueError, ProcessLookupError):
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
