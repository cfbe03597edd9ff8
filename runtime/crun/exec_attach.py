"""A command inside a container for a person who sits at our standard streams.

What is inside never gets a descriptor of ours: a hostile program could type into our terminal or cut
our files. It gets a terminal of the container's own, or pipes, and we carry bytes between.
"""

import fcntl
import os
import selectors
import signal
import socket
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from runtime.bundle import InstanceRecord
from runtime.config import HostConfig
from runtime.crun.execute import Doorway, doorway
from runtime.errors import CommandFailedError, InputError
from runtime.system.commands import shell_code

_PIECE_BYTES = 64 * 1024
_CONSOLE_SECONDS = 20.0
_INTERRUPTED = 130


def attend(
    config: HostConfig,
    record: InstanceRecord,
    argv: tuple[str, ...],
    *,
    pid: int,
    cgroup: str,
    terminal: bool,
) -> int:
    """Run argv inside between our standard streams; its exit code, 130 when it was interrupted here.

    Whatever ends us but SIGKILL, the command inside is ended and our terminal is as it was. InputError
    when a terminal is asked for and we have none, or the image has no such program.
    """
    if terminal and not (os.isatty(0) and os.isatty(1)):
        raise InputError("-t needs a terminal on both sides; leave it out when input is a pipe")
    kind = os.environ.get("TERM", "xterm") if terminal else ""
    with (
        doorway(config, record, argv, pid=pid, cgroup=cgroup, terminal=kind) as door,
        _ends_become_exceptions(),
    ):
        try:
            code = _with_terminal(door) if terminal else _with_pipes(door)
        except KeyboardInterrupt:
            return _INTERRUPTED
        door.check(code)
    return code


def _with_pipes(door: Doorway) -> int:
    with subprocess.Popen(
        door.command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as child, _ended_with_us(child, door):  # fmt: skip
        streams = (child.stdin, child.stdout, child.stderr)
        given, out, err = (stream.fileno() for stream in streams if stream)
        feed(given)
        if child.stdin:
            child.stdin.close()  # the feeding side's own copy is the last: its end is the end of input
        carry = OutputPump(child.pid)
        carry.from_to(out, 1)
        carry.from_to(err, 2)
        carry.run()
        return shell_code(child.wait())


def _with_terminal(door: Doorway) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(door.console))
        listening.listen(1)
        listening.settimeout(0.1)
        with subprocess.Popen(
            door.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as child, _ended_with_us(child, door):  # fmt: skip
            master = _master(listening, child)
            if master < 0:
                return shell_code(child.wait())
            try:
                with _raw(0), _same_size(master):
                    feed(master)
                    carry = OutputPump(child.pid)
                    carry.from_to(master, 1)
                    carry.run()
            finally:
                os.close(master)
            return shell_code(child.wait())


def feed(target: int) -> None:
    """Carry our input to target until either ends, beside all else: a full pipe stops nothing but itself."""
    own = os.dup(target)

    def carry() -> None:
        with suppress(OSError):
            while (piece := os.read(0, _PIECE_BYTES)) and _write_all(own, piece):
                pass
        os.close(own)

    # Ends with us, in the middle of its waiting for input.
    threading.Thread(target=carry, daemon=True).start()


class OutputPump:
    """Carries what comes out until a process has ended and nothing is left."""

    def __init__(self, pid: int) -> None:
        self._waiting = selectors.DefaultSelector()
        self._pidfd = os.pidfd_open(pid)
        self._waiting.register(self._pidfd, selectors.EVENT_READ)
        self._targets: dict[int, int] = {}

    def from_to(self, source: int, target: int) -> None:
        """Carry from one to another."""
        self._targets[source] = target
        self._waiting.register(source, selectors.EVENT_READ)

    def run(self) -> None:
        """Carry until the process has ended."""
        try:
            while True:
                ready = [key.fd for key, _events in self._waiting.select()]
                for fd in ready:
                    if fd != self._pidfd:
                        self._carry(fd)
                if self._pidfd in ready:
                    break
            self._drain()
        finally:
            self._waiting.close()
            os.close(self._pidfd)

    def _drain(self) -> None:
        """Return what the command wrote before it ended. Others inside may hold the other end open for
        ever.
        """
        for source in [*self._targets]:
            os.set_blocking(source, False)
            while source in self._targets and self._carry(source):
                pass

    def _carry(self, source: int) -> bool:
        try:
            piece = os.read(source, _PIECE_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # EIO: nobody holds the other side of the terminal any more
            piece = b""
        if piece and _write_all(self._targets[source], piece):
            return True
        del self._targets[source]
        self._waiting.unregister(source)
        return False


def _write_all(fd: int, data: bytes) -> bool:
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(fd, left) :]
    except OSError:
        return False
    return True


def _master(listening: socket.socket, child: "subprocess.Popen[bytes]") -> int:
    """Return the terminal that crun made inside; -1 when crun ended without one."""
    for _ in range(int(_CONSOLE_SECONDS / 0.1)):
        try:
            connection, _address = listening.accept()
        except TimeoutError:
            if child.poll() is not None:
                return -1
            continue
        with connection:
            connection.settimeout(_CONSOLE_SECONDS)
            _text, found, _flags, _from = socket.recv_fds(connection, 4096, 1)
            if found:
                os.set_inheritable(found[0], False)
                return found[0]
            return -1
    raise CommandFailedError(f"no terminal came within {_CONSOLE_SECONDS:g} s")


@contextmanager
def _ended_with_us(child: "subprocess.Popen[bytes]", door: Doorway) -> Iterator[None]:
    """On an error here the command inside ends, and with it crun."""
    try:
        yield
    except BaseException:
        if child.poll() is None:  # otherwise its number may be somebody else's by now
            door.kill()
            child.kill()
        raise


@contextmanager
def _raw(fd: int) -> Iterator[None]:
    """Every key goes through as it is, Ctrl-C too; afterwards the terminal is as it was."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)


@contextmanager
def _same_size(master: int) -> Iterator[None]:
    """The terminal inside has the size of ours, now and whenever ours changes."""

    def copy(_number: int = 0, _frame: FrameType | None = None) -> None:
        with suppress(OSError):
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(master, termios.TIOCSWINSZ, size)

    before = signal.signal(signal.SIGWINCH, copy)
    try:
        copy()
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextmanager
def _ends_become_exceptions() -> Iterator[None]:
    """SIGTERM and SIGHUP leave through every `finally`."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
