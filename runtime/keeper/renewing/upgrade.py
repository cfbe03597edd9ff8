"""New code for a running keeper: checked in a child first, then executed in place of the old.

No container notices: the process, its children and their exit codes, its descriptors and what waits in
them all stay. Starts under way are finished first; those that wait go on under the new code.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from functools import partial

from runtime.errors import InputError
from runtime.keeper.keeper import Keeper
from runtime.keeper.loop import Loop
from runtime.keeper.processes import SIGNALS, exit_code, say, send_signal
from runtime.keeper.renewing import handover
from runtime.keeper.server import Server
from runtime.keeper.supervised import Listener
from settings import inner

CHECK_SECONDS = 30.0
QUIET_SECONDS = 60.0
_LOOK_SECONDS = 0.05
# Where the child that checks finds the state.
_STATE_FD = 10


# What says who started this process: no setting.
_MARKS = frozenset({inner.SUPERVISED.name, inner.PROGRAM.name})


class Upgrade:
    """One at a time. lock: the descriptor that holds the state directory for this process."""

    def __init__(self, loop: Loop, keeper: Keeper, server: Server, lock: int) -> None:
        self._loop = loop
        self._keeper = keeper
        self._server = server
        self._lock = lock
        self._asked: Listener | None = None
        self._environ = dict(os.environ)

    def begin(self, listener: Listener, settings: Mapping[str, str]) -> None:
        """Check the code that is on disk now, then execute it; the new code answers the listener.

        settings: STOA_* variables in place of those this keeper has; none: it keeps its own. Code or
        settings that are not fit are an error answer, and everything goes on as it was.
        """
        if self._asked:
            raise InputError("an upgrade is under way already")
        self._asked = listener
        self._environ = _environ(settings)
        state = handover.write_state(self._state())
        said, theirs = os.pipe()
        pid = os.posix_spawn(
            sys.executable,
            (sys.executable, "-m", "runtime.keeper", "--check", str(_STATE_FD)),
            self._environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs, 1),
                (os.POSIX_SPAWN_DUP2, theirs, 2),
                (os.POSIX_SPAWN_DUP2, state, _STATE_FD),
            ],
        )
        os.close(theirs)
        os.close(state)
        late = self._loop.after(CHECK_SECONDS, partial(send_signal, pid, signal.SIGKILL))

        def ended(status: int) -> None:
            late.cancelled = True
            os.set_blocking(said, False)
            try:
                text = os.read(said, 64 * 1024).decode("utf-8", "replace").strip()
            except BlockingIOError:
                text = ""
            os.close(said)
            self._checked(exit_code(status), text)

        self._keeper.other_children[pid] = ended

    def _checked(self, code: int, said: str) -> None:
        if code != 0:
            self._give_up(f"the new code is not fit (exit code {code}): {said[-600:]}")
            return
        self._keeper.starts.hold()
        self._when_quiet(time.monotonic() + QUIET_SECONDS, was_quiet=False)

    def _when_quiet(self, deadline: float, *, was_quiet: bool) -> None:
        if self._keeper.is_stopping:
            self._give_up("every container is being stopped")
        elif self._keeper.starts.is_quiet and was_quiet:
            self._execute()
        elif time.monotonic() > deadline:
            self._give_up(f"a start did not end within {QUIET_SECONDS:g} s")
        else:
            # Quiet at two looks: what the last start left to be done at once is done by then.
            quiet = self._keeper.starts.is_quiet
            self._loop.after(_LOOK_SECONDS, partial(self._when_quiet, deadline, was_quiet=quiet))

    def _execute(self) -> None:
        self._keeper.remember()
        # Blocked and not lost: the new code lets them in when it is ready for them.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        state = self._state()
        fd = handover.write_state(state)
        for number in (fd, *handover.descriptors(state)):
            os.set_inheritable(number, True)
        say("executing the new code")
        try:
            os.execve(  # noqa: S606 - a shell is what it must not be
                sys.executable,
                [sys.executable, "-m", "runtime.keeper", "--take-over", str(fd)],
                self._environ,
            )
        except OSError as error:
            os.close(fd)
            for number in handover.descriptors(state):
                os.set_inheritable(number, False)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._give_up(f"{sys.executable} cannot be executed: {error}")

    def _state(self) -> handover.State:
        connections = self._server.connections
        numbers: dict[Listener, int] = {
            listener: number for number, listener in enumerate(connections)
        }
        return {
            "lock": self._lock,
            "listening": self._server.fd,
            "connections": [connection.handed() for connection in connections],
            "asked": numbers.get(self._asked, -1) if self._asked else -1,
            **self._keeper.hand_over(lambda listener: numbers.get(listener, -1)),
        }

    def _give_up(self, reason: str) -> None:
        asked, self._asked = self._asked, None
        self._keeper.starts.release()
        say(f"not upgraded: {reason}")
        if asked:
            message = f"the old keeper goes on: {reason}"
            asked.tell({"ok": False, "code": "host", "message": message})


def _environ(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's variables, with these settings instead of its own."""
    if not settings:
        return dict(os.environ)
    own = {
        name: value
        for name, value in os.environ.items()
        if name in _MARKS or not name.startswith("STOA_")
    }
    given = {name: value for name, value in settings.items() if name.startswith("STOA_")}
    return given | own
