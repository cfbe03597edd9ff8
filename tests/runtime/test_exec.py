"""`exec -i` and `exec -it` as people use them: at a terminal, in a pipe, interrupted; what they may do."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.specs import Fence
from tests.runtime.hosts import ROOT, Host, wait_until

pytestmark = pytest.mark.root


@pytest.fixture
def running(host: Host) -> Host:
    host.start_keeper()
    host.driver().ensure_running(host.spec(), fence=Fence(1, 1))
    return host


class Person:
    """Somebody at a terminal who runs a command inside shop-0."""

    def __init__(self, host: Host, *argv: str, size: tuple[int, int] = (33, 101)) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "runtime", "exec", "-it", "shop-0", *argv],
            env={**host.environ, "TERM": "vt100"},
            cwd=ROOT,
            stdin=self.slave,
            stdout=self.slave,
            stderr=subprocess.PIPE,
        )

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def await_text(self, text: bytes) -> None:
        deadline = time.monotonic() + 20
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"waited in vain for {text!r}; there came {self.seen!r}"
            waiting = select.poll()  # select() knows no number from 1024 on
            waiting.register(self.master, select.POLLIN | select.POLLHUP)
            if waiting.poll(left * 1000):
                self.seen += os.read(self.master, 4096)

    def end(self) -> int:
        code = self.process.wait(20)
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is not as it was"
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def person(running: Host) -> Iterator[Person]:
    person = Person(running, "sh")
    yield person
    person.close()


def test_a_terminal_has_our_size_and_kind_and_follows_and_the_exit_code_comes_back(
    person: Person,
) -> None:
    person.type(b"busybox stty size; echo kind=$TERM; busybox tty\n")
    person.await_text(b"33 101\r\n")
    person.await_text(b"kind=vt100\r\n")
    person.await_text(b"/dev/pts/")
    person.resize(20, 50)
    os.kill(person.process.pid, signal.SIGWINCH)  # a terminal would tell its foreground group
    deadline = time.monotonic() + 20
    while b"20 50\r\n" not in person.seen and time.monotonic() < deadline:
        person.type(b"busybox stty size\n")
        person.await_text(b" ")
        time.sleep(0.1)
        person.seen += os.read(person.master, 4096)
    assert b"20 50\r\n" in person.seen
    person.type(b"exit 5\n")
    assert person.end() == 5


def test_ctrl_c_reaches_the_program_inside_and_not_us(person: Person) -> None:
    person.type(b"trap 'echo caught' INT; echo rea''dy; sleep 60; echo on\n")
    person.await_text(b"ready\r\n")
    time.sleep(0.2)
    person.type(b"\x03")
    person.await_text(b"caught")
    person.type(b"exit 0\n")
    assert person.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_us_restores_the_terminal_and_ends_what_runs_inside(
    running: Host, number: int
) -> None:
    person = Person(running, "sh", "-c", "echo here; exec sleep 4321")
    try:
        person.await_text(b"here\r\n")
        os.kill(person.process.pid, number)
        assert person.end() == 128 + number
        wait_until(lambda: not sleepers(running), what="nothing of it runs inside")
    finally:
        person.close()


def sleepers(host: Host) -> list[int]:
    found = []
    for pid in host.cgroups.pids(host.spec().instance_id):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [pid] if b"4321" in line else []
    return found


def piped(host: Host, *argv: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "runtime", "exec", *argv],
        env=host.environ,
        cwd=ROOT,
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_input_from_a_pipe_arrives_whole_and_both_outputs_come_apart(running: Host) -> None:
    given = os.urandom(300_000)
    done = piped(running, "-i", "shop-0", "sh", "-c", "cat; echo bad >&2; exit 6", given=given)
    assert (done.returncode, done.stderr) == (6, b"bad\n")
    assert done.stdout == given


def test_a_command_at_a_terminal_is_bound_as_the_container_is(running: Host) -> None:
    look = "cd /proc/self; cat cgroup status limits; for n in fd/*; do ls -l $n; done; exit 0"
    spec = running.spec()
    own = running.driver().status(spec.instance_id).pid
    person = Person(running, "sh", "-c", look)
    try:
        code = person.process.wait(20)
        person.await_text(b"Max realtime timeout")
        person.await_text(b"2 -> /dev/pts/")
    finally:
        person.close()
    seen = person.seen.decode().replace("\r\n", "\n")
    assert code == 0
    wanted = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Uid")
    ours = [one for one in lines(f"/proc/{own}/status") if one.startswith(wanted)]
    shift = ours[0].split()[1]
    assert [one for one in ours if one in seen.splitlines()] == [
        one for one in ours if not one.startswith("Uid")
    ], f"{shift} is the host's number; all else must be equal"
    for line in lines(f"/proc/{own}/limits"):
        if line.startswith(("Max open files", "Max core", "Max file size")):
            assert line.rstrip() in [one.rstrip() for one in seen.splitlines()]
    links = [one.rsplit(" -> ", 1)[1] for one in seen.splitlines() if " -> " in one]
    assert len(links) == 3
    assert all(one.startswith("/dev/pts/") for one in links), links
    assert "9:name=systemd:/" in seen or "0::/" in seen
    assert all(one.endswith(":/") for one in seen.splitlines()[:3])


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def test_a_program_that_is_not_there_is_named_and_a_shell_is_explained(running: Host) -> None:
    done = piped(running, "shop-0", "bash")
    assert done.returncode == 1
    assert b"has no 'bash': it may hold no shell at all" in done.stderr
    done = piped(running, "-i", "shop-0", "frobnicate")
    assert done.returncode == 1
    assert b"has no 'frobnicate'" in done.stderr
    assert b"shell" not in done.stderr


def test_a_terminal_that_is_none_is_refused(running: Host) -> None:
    done = piped(running, "-it", "shop-0", "sh")
    assert done.returncode == 1
    assert b"-t needs a terminal on both sides" in done.stderr
