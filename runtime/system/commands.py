"""The one door through which this package runs other programs: argv only, always with a time limit."""

import os
import selectors
import signal
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from runtime.errors import CommandFailedError

OUTPUT_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended; output holds stdout and stderr, at most OUTPUT_LIMIT bytes of text."""

    exit_code: int
    output: str


def shell_code(exit_code: int) -> int:
    """Return an exit code as shells show it: 128 + signal where Python says -signal."""
    return exit_code if exit_code >= 0 else 128 - exit_code


def run(
    *argv: str,
    timeout: float,
    ok: frozenset[int] = frozenset({0}),
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    stdout: int | None = None,
) -> Finished:
    """Run a program to its end and return how it ended.

    timeout is in seconds; afterwards the whole process group is killed. Raises CommandFailedError then, for
    an exit code outside ok, and for a program that is not there. stdin: at most a pipe's 64 KiB. stdout: a
    descriptor that gets the program's own output; then only its stderr is in what is returned.
    """
    finished = run_unchecked(*argv, timeout=timeout, stdin=stdin, env=env, stdout=stdout)
    if finished.exit_code not in ok:
        raise CommandFailedError(
            f"{argv[0]} ended with exit code {finished.exit_code}: {finished.output.strip()[-400:]}",
            argv=list(argv),
            exit_code=finished.exit_code,
        )
    return finished


def run_unchecked(
    *argv: str,
    timeout: float,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    stdout: int | None = None,
) -> Finished:
    """Run a program whose exit code is the caller's business (see run for the rest)."""
    ours, theirs = os.pipe()
    given, source = os.pipe()
    try:
        # subprocess is not imported: the keeper loads this module, and it would cost it a megabyte.
        pid = os.posix_spawnp(
            argv[0],
            argv,
            dict(os.environ if env is None else env),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, given, 0),
                (os.POSIX_SPAWN_DUP2, theirs if stdout is None else stdout, 1),
                (os.POSIX_SPAWN_DUP2, theirs, 2),
            ],
            setpgroup=0,
            setsigdef=[signal.SIGPIPE],
        )
    except OSError as error:
        _close(ours, theirs, given, source)
        raise CommandFailedError(
            f"{argv[0]} cannot be started: {error}", argv=list(argv)
        ) from error
    _close(theirs, given)
    _feed(source, stdin)
    output, in_time = _drain(ours, deadline=time.monotonic() + timeout)
    if not in_time:
        os.killpg(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(ours)
    text = output.decode("utf-8", "replace")
    if not in_time:
        raise CommandFailedError(
            f"{argv[0]} did not end within {timeout:g} s and was killed",
            argv=list(argv),
            output=text,
        )
    return Finished(exit_code=shell_code(status), output=text)


@contextmanager
def fed(*argv: str, to: int, timeout: float) -> Iterator[BinaryIO]:
    """Run a program for as long as the block writes to it; its own output goes to the descriptor.

    CommandFailedError when it fails, or does not end in time once the block is over.
    """
    given, source = os.pipe2(os.O_CLOEXEC)
    pid, errors = _piped(argv, given, to)
    with _ended(pid, argv, errors, timeout), os.fdopen(source, "wb", 1 << 18) as file:
        yield file


@contextmanager
def read_from(*argv: str, of: int, timeout: float) -> Iterator[BinaryIO]:
    """Run a program that reads the descriptor, and read its output; see `fed`.

    A block that does not read to the end ends the program.
    """
    source, given = os.pipe2(os.O_CLOEXEC)
    pid, errors = _piped(argv, of, given)
    with _ended(pid, argv, errors, timeout), os.fdopen(source, "rb", 1 << 18) as file:
        yield file
        while file.read(1 << 18):
            pass


def _piped(argv: tuple[str, ...], stdin: int, stdout: int) -> tuple[int, int]:
    """Start a program between two descriptors; the pipe ends among them are its own from now on."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    files = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)]
    try:
        pid = os.posix_spawnp(
            argv[0],
            argv,
            os.environ,
            file_actions=[*files, (os.POSIX_SPAWN_DUP2, theirs, 2)],
            setpgroup=0,
            setsigdef=[signal.SIGPIPE],
        )
    except OSError as error:
        os.close(ours)
        raise CommandFailedError(
            f"{argv[0]} cannot be started: {error}", argv=list(argv)
        ) from error
    finally:
        os.close(theirs)
        for fd in (stdin, stdout):
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.close(fd)
    return pid, ours


@contextmanager
def _ended(pid: int, argv: tuple[str, ...], errors: int, timeout: float) -> Iterator[None]:
    """See a program to its end, however the block ends."""
    is_whole = False
    try:
        yield
        is_whole = True
    except BrokenPipeError:
        is_whole = True  # it ended first; why is in what it said
    finally:
        if not is_whole:
            os.killpg(pid, signal.SIGKILL)
        output, in_time = _drain(errors, deadline=time.monotonic() + timeout)
        os.close(errors)
        if not in_time:
            os.killpg(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != 0:
        raise CommandFailedError(
            f"{argv[0]} ended with {code}: {output.decode('utf-8', 'replace').strip()[-400:]}",
            argv=list(argv),
        )


def _feed(source: int, content: bytes) -> None:
    try:
        if content:
            os.write(source, content)
    except BrokenPipeError:
        pass  # a program may end without reading; its exit code tells the rest
    finally:
        os.close(source)


def _drain(fd: int, *, deadline: float) -> tuple[bytes, bool]:
    """Read until end of file; what exceeds the limit is read and dropped, so the writer never blocks."""
    kept = bytearray()
    with selectors.DefaultSelector() as waiting:
        waiting.register(fd, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not waiting.select(left):
                continue
            piece = os.read(fd, 65536)
            if not piece:
                return bytes(kept), True
            kept += piece[: OUTPUT_LIMIT - len(kept)]
    return bytes(kept), False


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def forked(body: Callable[[], None]) -> int:
    """Fork a child that runs body and ends with 0, or with 70 when body raises; return its pid.

    The child never returns into the caller's code. Only for single-threaded processes.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        body()
        code = 0
    finally:
        os._exit(code)
