"""How installers run other programs. A child that installs or writes is waited for, not killed."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from installer.progress import InstallError, complain

_QUICK_SECONDS = 60.0
_TAIL_LINES = 25


def succeeds(*argv: str, env: Mapping[str, str] | None = None) -> bool:
    """Return whether the program is there and ends with 0."""
    return _quick(argv, env) is not None


def output(*argv: str, env: Mapping[str, str] | None = None) -> str:
    """Return what the program prints; "" when it fails or is not there."""
    return _quick(argv, env) or ""


def check(*argv: str, env: Mapping[str, str] | None = None) -> None:
    """Run a short program. InstallError, with what it printed, when it fails."""
    try:
        done = subprocess.run(
            argv, env=env, check=False, capture_output=True, text=True, timeout=_QUICK_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{' '.join(argv)}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise InstallError(f"{' '.join(argv)} failed: {said}")


def logged(
    argv: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
) -> int:
    """Run a program with its output in a file; its exit code. keep: descriptors that it inherits."""
    with (
        log.open("wb") as file,
        subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, pass_fds=keep
        ) as process,
    ):
        return process.wait()


def attempt(what: str, argv: Sequence[str], log: Path, *, env: Mapping[str, str]) -> None:
    """Run a program that must succeed; where it fails, the end of its output is shown."""
    if code := logged(argv, log, env=env):
        complain(tail(log, _TAIL_LINES))
        raise InstallError(f"{what}: failed (exit code {code})", f"the whole output: {log}")


def tail(file: Path, lines: int) -> str:
    """Return the last lines of a file; "" when it is not there."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def wait_for(is_so: Callable[[], bool], seconds: float, *, pause: float = 0.1) -> bool:
    """Wait for a condition, at most this long; return whether it came."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True


def _quick(argv: Sequence[str], env: Mapping[str, str] | None) -> str | None:
    try:
        done = subprocess.run(
            argv, env=env, check=False, capture_output=True, text=True, timeout=_QUICK_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout
