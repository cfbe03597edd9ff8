"""The keeper's small parts: lines, timers, backoff, signals; no root needed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.bundle import InstanceDirectory
from runtime.keeper import logs, processes
from runtime.keeper.ending import exit_records
from runtime.keeper.loop import Loop
from runtime.keeper.renewing.state_file import Memory
from runtime.keeper.supervised import backoff_seconds, is_crash_looping
from tests.runtime.hosts import wait_until


@pytest.fixture
def directory(tmp_path: Path) -> InstanceDirectory:
    made = InstanceDirectory.of(tmp_path, "ins_0123456789")
    made.root.mkdir(parents=True)
    made.make_fifos()
    return made


def test_lines_are_stamped_and_an_unfinished_one_waits_for_its_end(
    directory: InstanceDirectory,
) -> None:
    reader = logs.LogReader(directory)
    os.write(reader.fds["out"], b"first\nsec")
    assert reader.take("out")
    assert [line.split(" ", 1)[1] for line in logs.tail(directory, 9)] == ["out first"]
    os.write(reader.fds["out"], b"ond\n")
    os.write(reader.fds["err"], b"no end of line")
    reader.drain()
    reader.close()
    assert [line.split(" ", 1)[1] for line in logs.tail(directory, 9)] == [
        "out first",
        "out second",
        "err no end of line",
    ]
    assert not logs.tail(directory, 0)


def test_nothing_waiting_is_no_line(directory: InstanceDirectory) -> None:
    reader = logs.LogReader(directory)
    assert not reader.take("out")
    reader.close()
    assert not directory.log.exists()


def test_the_log_is_rotated_at_its_ceiling_and_the_newest_lines_stay(
    directory: InstanceDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "FILE_LIMIT", 2000)
    reader = logs.LogReader(directory)
    for number in range(200):
        os.write(reader.fds["out"], b"line %d\n" % number)
        reader.take("out")
    reader.close()
    size = sum(path.stat().st_size for path in (directory.log, directory.old_log) if path.exists())
    assert size < 2 * 2100
    assert logs.tail(directory, 1)[0].endswith("line 199")
    assert len(logs.tail(directory, 20)) == 20


def test_one_who_logs_without_end_has_lines_left_out_and_counted_and_loses_none_uncounted(
    directory: InstanceDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "FILE_LIMIT", 50_000_000)
    monkeypatch.setattr(logs, "BURST_BYTES", 100_000)
    monkeypatch.setattr(logs, "BYTES_PER_SECOND", 200_000)
    reader, loop = logs.LogReader(directory), Loop()
    reader.listen(loop)
    pid = os.fork()
    if pid == 0:
        with directory.fifo("out").open("wb") as out:
            for number in range(100_000):
                out.write(b"line %d\n" % number)
        os._exit(0)
    deadline = time.monotonic() + 20

    def look() -> None:
        if os.waitpid(pid, os.WNOHANG)[0] or time.monotonic() > deadline:
            loop.stop()
        else:
            loop.after(0.05, look)

    look()
    loop.run()
    reader.drain()
    reader.close()
    lines = [line.split(" ", 2)[2] for line in logs.tail(directory, 1_000_000)]
    kept = [int(line.split()[1]) for line in lines if line.startswith("line ")]
    dropped = [int(line.split()[0]) for line in lines if "lines dropped" in line]
    assert kept == sorted(set(kept))
    assert dropped
    assert len(kept) + sum(dropped) == 100_000
    assert len(kept) < 20_000, "the rate is bounded"


def test_a_line_without_end_is_cut_into_pieces_of_bounded_length() -> None:
    lines, rest = logs.split_lines(b"x" * (3 * logs.LINE_LIMIT + 5))
    assert [len(line) for line in lines] == [logs.LINE_LIMIT] * 3
    assert rest == b"x" * 5


def test_time_is_written_in_utc_with_microseconds() -> None:
    assert logs.stamp(0.25) == "1970-01-01T00:00:00.250000Z"


def test_three_quick_restarts_then_doubling_up_to_a_ceiling() -> None:
    assert [backoff_seconds(n) for n in range(1, 12)] == [
        0.2, 0.2, 0.2, 30, 60, 120, 240, 480, 960, 960, 960,
    ]  # fmt: skip


def test_timers_fire_in_order_and_cancelled_ones_do_not() -> None:
    loop, fired = Loop(), list[str]()
    loop.after(0.02, lambda: fired.append("late"))
    loop.after(0.01, lambda: fired.append("never")).cancelled = True
    loop.after(0.0, lambda: fired.append("early"))
    loop.after(0.03, loop.stop)
    loop.run()
    assert fired == ["early", "late"]


def test_memory_is_written_soon_once_and_read_back(tmp_path: Path) -> None:
    loop, path = Loop(), tmp_path / "keeper.json"
    memory = Memory(loop, path, lambda: {"ins_a": {"pid": 7, "ticks": 9}})
    assert memory.load() == {}
    memory.changed()
    memory.changed()
    assert not path.exists()
    loop.after(0.7, loop.stop)
    loop.run()
    assert memory.load() == {"ins_a": {"pid": 7, "ticks": 9}}


def test_processes_of_an_earlier_boot_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "keeper.json"
    path.write_text('{"boot":"another","instances":{"ins_a":{"pid":7,"ticks":9,"restarts":2}}}')
    memory = Memory(Loop(), path, dict)
    assert memory.load() == {"ins_a": {"pid": 0, "ticks": 0, "restarts": 2}}


def test_last_lines_are_those_of_the_last_run_and_bounded(
    directory: InstanceDirectory,
) -> None:
    old, new = logs.stamp(time.time() - 60), logs.stamp(time.time())
    directory.old_log.write_text(f"{new} out rotated\n")
    directory.log.write_text(f"{old} out before\n" + f"{new} out now\n" * 2)
    assert exit_records.last_lines(directory, ran_seconds=5) == (f"{new} out now",) * 2
    directory.log.write_text("".join(f"{new} err line {n}\n" for n in range(1000)))
    found = exit_records.last_lines(directory, ran_seconds=5)
    assert [line.split()[-1] for line in found] == [str(n) for n in range(990, 1000)]
    directory.log.write_text(f"{new} err {'x' * 1500}\n{new} err {'y' * 1500}\n")
    assert [line[-1] for line in exit_records.last_lines(directory, ran_seconds=5)] == ["y"]
    directory.log.write_text(f"{new} err " + "\u00e9" * 4000 + "\n")
    (cut,) = exit_records.last_lines(directory, ran_seconds=5)
    assert exit_records.MOST_BYTES - 8 < len(cut.encode()) <= exit_records.MOST_BYTES


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"exit_code": 3}', '{"exit_code":"x","at":1,"last_lines":[]}', "[" * 100_000],
    ids=["empty", "cut", "half", "types", "deep"],
)
def test_an_ending_that_cannot_be_read_is_none(directory: InstanceDirectory, text: str) -> None:
    directory.ending.write_text(text)
    assert exit_records.read_ending(directory) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"boot": 1}', "[" * 100_000],
    ids=["empty", "cut", "list", "half", "deep"],
)
def test_a_memory_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keeper.json"
    path.write_text(text)
    assert Memory(Loop(), path, dict).load() == {}


@pytest.mark.parametrize(
    ("prepare", "takes", "heeds"),
    [
        ("signal.signal(signal.SIGTERM, lambda *_: None)", True, True),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])", True, True),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); wait = True", True, True),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]); other = True", False, False),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", False, True),
        ("pass", False, False),
    ],
)
def test_what_a_process_means_to_do_about_a_signal_is_seen_from_outside(
    prepare: str, takes: bool, heeds: bool
) -> None:
    code = (
        f"import signal, sys; wait = other = False; {prepare}\nprint(1, flush=True)\n"
        "if wait: signal.sigwait([signal.SIGTERM])\n"
        "if other: signal.sigwait([signal.SIGUSR2])\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        wait_until(lambda: processes.start_ticks(child.pid) and _sleeps(child.pid))
        assert processes.takes(child.pid, signal.SIGTERM) is takes
        assert processes.heeds(child.pid, signal.SIGTERM) is heeds
        assert not processes.heeds(child.pid, signal.SIGUSR1)
        child.kill()
    assert not processes.heeds(child.pid, signal.SIGTERM)


def _sleeps(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S"


def test_a_handler_that_fails_is_said_and_ends_neither_loop_nor_the_other_handlers(
    capfd: pytest.CaptureFixture[str],
) -> None:
    loop = Loop()
    readable, writable = os.pipe()
    os.write(writable, b"x")
    calls = []

    def fails() -> None:
        calls.append(time.monotonic())
        raise ValueError("a damaged thing")

    loop.watch(readable, fails)
    loop.after(0, fails)
    loop.after(0.3, loop.stop)
    loop.run()
    assert len(calls) == 2, "a handler that fails is called again at once, for ever"
    assert "a damaged thing" in capfd.readouterr().err
    loop.forget(readable)
    os.close(readable)
    os.close(writable)


def test_a_process_is_named_by_its_start_and_its_age_is_told() -> None:
    ticks = processes.start_ticks(os.getpid())
    assert ticks > 0
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert 0 < processes.age_seconds(ticks, uptime=uptime) < uptime
    assert processes.start_ticks(2**22 + 1) == 0


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *(
            ("SIGQUIT", 3),
            ("INT", 2),
            ("9", 9),
            ("NONSENSE", 15),
            ("0", 15),
            ("sigint", 2),
            ("quit", 3),
        ),
        # What systemd asks for, and others that have no name of their own.
        *(
            ("SIGRTMIN+3", 37),
            ("RTMIN+3", 37),
            ("rtmax-1", 63),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+40", 15),
        ),
    ],
)
def test_stop_signals_are_read_as_images_write_them(name: str, number: int) -> None:
    assert processes.signal_number(name) == number


def test_a_wait_status_becomes_what_shells_show() -> None:
    assert processes.exit_code(3 << 8) == 3
    assert processes.exit_code(signal.SIGKILL) == 137


@pytest.mark.parametrize(
    ("phase", "failures", "age", "looping"),
    [
        ("waiting", 4, 0.0, True),
        ("running", 4, 10.0, True),
        ("running", 4, 300.0, False),
        ("waiting", 3, 0.0, False),
        ("ended", 9, 0.0, False),
    ],
)
def test_crash_looping_ends_with_a_long_good_run_or_a_stop(
    phase: str, failures: int, age: float, looping: bool
) -> None:
    assert is_crash_looping(phase, failures, age) is looping
