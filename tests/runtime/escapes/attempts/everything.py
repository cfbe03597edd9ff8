"""What a hostile program tries. Runs inside a container (and, as the control, on the host itself).

`python -c "from attempts.everything import main; main()" NAME…` tries each in a process of its own and
prints one JSON object: name → how it ended: an error's name ("EPERM"), "ok …" when the kernel did it,
"killed by N". With `--control` first, each process gets namespaces of its own before it tries, so that
what succeeds harms nobody.
"""

import errno
import json
import os
import signal
import sys

from . import devices, files, machine, mounts, namespaces, processes, sockets
from .calls import NEW_NAMESPACES, Attempt, RefusedError, call

ATTEMPTS: dict[str, Attempt] = {
    name: attempt
    for room in (mounts, devices, machine, processes, namespaces, sockets, files)
    for name, attempt in room.ATTEMPTS.items()
}


def step_aside() -> None:
    """Namespaces of its own but for users and processes: root may then try what the kernel allows root."""
    kinds = ("mount", "cgroup", "uts", "ipc", "network")
    call("unshare", sum(NEW_NAMESPACES[kind] for kind in kinds))
    call("mount", b"none", b"/", 0, 0x44000, 0)  # MS_REC | MS_PRIVATE


def outcome(body: Attempt, *, control: bool) -> str:
    """How an attempt ended, in a process of its own: some end the process, some change it for good."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if control:
                step_aside()
            said = f"ok {body()}"
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, str(error.errno))
        except ValueError as error:  # setrlimit above the hard limit
            said = f"refused: {error}"
        except RefusedError as error:
            said = f"refused: {error}"
        os.write(tell, said.encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told) as answer:
        said = answer.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return said or f"killed by {-ended}"


def main() -> None:
    """Try what the arguments name."""
    signal.alarm(60)
    control = sys.argv[1:2] == ["--control"]
    names = sys.argv[2:] if control else sys.argv[1:]
    print(json.dumps({name: outcome(ATTEMPTS[name], control=control) for name in names}))
