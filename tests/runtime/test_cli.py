"""The command line of a host, run as people run it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runtime.bundle import InstanceDirectory
from runtime.cli import tables
from runtime.cli.following import LogFollower
from runtime.keeper import logs
from runtime.specs import Fence, VolumeFate
from runtime.statuses import ContainerState, InstanceStatus
from tests.runtime.hosts import ROOT, Host, wait_until

FIRST = Fence(1, 1)


class TestTables:
    def test_columns_are_aligned_and_lines_end_without_blanks(self) -> None:
        shown = tables.table(("NAME", "SIZE"), [("a", "1.0 KiB"), ("longer", "")])
        assert shown.splitlines() == ["NAME     SIZE", "a        1.0 KiB", "longer"]

    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [(1.9, "1 second"), (59, "59 seconds"), (125, "2 minutes"), (3600, "1 hour")],
    )
    def test_ages_are_rough(self, seconds: float, shown: str) -> None:
        assert tables.age(seconds) == shown

    @pytest.mark.parametrize(
        ("status", "shown"),
        [
            (
                InstanceStatus("i", ContainerState.RUNNING, healthy=True, age_seconds=61),
                "Up 1 minute (healthy)",
            ),
            (
                InstanceStatus("i", ContainerState.EXITED, exit_code=137, age_seconds=190),
                "Exited (137) 3 minutes ago",
            ),
            (
                InstanceStatus("i", ContainerState.EXITED, exit_code=1, crash_looping=True),
                "Exited (1) 0 seconds ago, starting again",
            ),
            (InstanceStatus("i", ContainerState.EXITED), "Stopped"),
            (InstanceStatus("i", ContainerState.STARTING), "Starting"),
        ],
    )
    def test_states_are_said_as_docker_says_them(self, status: InstanceStatus, shown: str) -> None:
        assert tables.state(status) == shown


class TestFollowing:
    @pytest.fixture
    def directory(self, tmp_path: Path) -> InstanceDirectory:
        made = InstanceDirectory.of(tmp_path, "ins_0123456789")
        made.root.mkdir(parents=True)
        made.make_fifos()
        made.record_path.touch()
        return made

    def test_no_line_is_lost_or_doubled_over_rotations_restarts_and_the_removal(
        self, directory: InstanceDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logs, "FILE_LIMIT", 40_000)
        total = 6000
        seen: list[int] = []

        def await_seen(count: int) -> None:
            # A file taken away before anybody looked cannot be read: no more than half of one is ahead.
            wait_until(lambda: len(seen) >= count, seconds=30, what=f"line {count} is seen")

        def write() -> None:
            try:
                for part in range(3):  # as over three containers of one instance
                    reader = logs.LogReader(directory)
                    for number in range(part * total // 3, (part + 1) * total // 3):
                        os.write(reader.fds["out"], b"line %d\n" % number)
                        reader.take("out")
                        await_seen(number - 400)
                    reader.drain()
                    reader.close()
                await_seen(total - 100)  # the newest file is open; what else it holds is still read
            finally:
                directory.remove()

        follower = LogFollower(directory)
        writer = threading.Thread(target=write)
        writer.start()
        for line in follower.coming():
            seen.append(int(line.rsplit(" ", 1)[1]))
        writer.join()
        follower.close()
        assert seen == list(range(total))

    def test_what_is_there_is_read_from_both_files(self, directory: InstanceDirectory) -> None:
        assert list(LogFollower(directory).present()) == []
        directory.old_log.write_text("one\ntwo\n")
        assert list(LogFollower(directory).present()) == ["one", "two"]
        directory.log.write_text("three\nunfin")
        assert list(LogFollower(directory).present()) == ["one", "two", "three"]


@pytest.mark.root
class TestCommands:
    @pytest.fixture
    def running(self, host: Host) -> Host:
        host.start_keeper()
        host.driver().ensure_running(host.spec(0, mode="polite"), fence=FIRST)
        host.driver().ensure_running(host.spec(1), fence=FIRST)
        return host

    def test_ps_shows_what_runs_and_with_all_what_does_not(self, running: Host) -> None:
        running.driver().ensure_stopped(running.spec(1).instance_id, fence=FIRST)
        header, line = said(running, "ps").splitlines()
        assert header.split() == ["INSTANCE", "TENANT", "IMAGE", "STATUS", "RESTARTS", "PORT"]
        assert line.startswith("ins_test000000   shop-0   test    Up ")
        assert "(healthy)" in line
        shown_last = said(running, "ps", "-a").splitlines()[2].split()
        assert (shown_last[3:5], shown_last[7]) == (["Exited", "(137)"], "ago")
        assert said(running, "ps", "-q") == "ins_test000000\n"
        (shown,) = json.loads(said(running, "ps", "--json"))
        assert (shown["instance_id"], shown["state"]) == ("ins_test000000", "running")

    def test_logs_are_found_by_tenant_and_followed_until_the_instance_is_gone(
        self, running: Host
    ) -> None:
        assert said(running, "logs", "shop-1").endswith(" out starting as well\n")
        with subprocess.Popen(
            [sys.executable, "-m", "runtime", "logs", "-f", "shop-0"],
            env=running.environ,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as follower:
            assert follower.stdout
            assert "starting as polite" in follower.stdout.readline()
            running.driver().ensure_stopped(running.spec(0).instance_id, fence=FIRST)
            assert follower.stdout.readline().endswith(" out going\n")
            running.driver().ensure_running(running.spec(0, mode="polite"), fence=FIRST)
            assert follower.stdout.readline().endswith(" out starting as polite\n")
            running.driver().ensure_absent(
                running.spec(0).instance_id, fence=FIRST, volume=VolumeFate.DELETE
            )
            assert follower.stdout.read().endswith(" out going\n")
            assert follower.wait(20) == 0

    def test_logs_are_cut_to_what_is_asked_for(self, running: Host) -> None:
        name, stopped = "shop-0", running.spec(0).instance_id
        running.driver().ensure_stopped(stopped, fence=FIRST)
        assert said(running, "logs", "-n", "1", "--no-timestamps", name) == "going\n"
        both = "starting as polite\ngoing\n"
        assert said(running, "logs", "--since", "1h", "--no-timestamps", name) == both
        directory = InstanceDirectory.of(running.state_dir, stopped)
        directory.log.write_text(
            "2020-01-01T00:00:00.000000Z out old\n" + directory.log.read_text()
        )
        assert said(running, "logs", "--since", "1h", "--no-timestamps", name) == both
        assert "old" in said(running, "logs", "-n", "all", name)
        wrong = runtime(running, "logs", "--since", "soon", name)
        assert (wrong.returncode, "give for example 30s" in wrong.stderr) == (2, True)

    def test_exec_passes_output_and_exit_code_on(self, running: Host) -> None:
        done = runtime(running, "exec", "shop-0", "sh", "-c", "echo hi; exit 4")
        assert (done.returncode, done.stdout) == (4, "hi\n")

    def test_stats_and_images_say_what_is_used(self, running: Host) -> None:
        rows = said(running, "stats", "shop-0").splitlines()
        assert rows[0].startswith("INSTANCE         TENANT   CPU %   MEMORY / LIMIT")
        assert "/ 64 MiB" in rows[1]
        assert said(running, "images").splitlines()[1].split()[0] == "test"
        assert said(running, "images").splitlines()[1].split()[-1] == "2"

    def test_an_unknown_name_is_answered_with_where_to_look(self, running: Host) -> None:
        done = runtime(running, "exec", "nobody", "true")
        assert done.returncode == 1
        assert "no instance or tenant is called 'nobody'" in done.stderr

    def test_down_ends_all_and_keeps_what_should_run(self, running: Host) -> None:
        began = time.monotonic()
        assert "every container has ended" in said(running, "down")
        assert time.monotonic() - began < 10
        assert [running.containers(running.spec(number)) for number in (0, 1)] == [0, 0]
        directory = InstanceDirectory.of(running.state_dir, running.spec(0).instance_id)
        record = directory.read()
        assert record
        assert record.desired.value == "running"

    def test_without_a_keeper_commands_say_how_to_start_one_and_down_still_clears(
        self, running: Host
    ) -> None:
        running.end_keeper(signal.SIGKILL)
        done = runtime(running, "ps")
        assert done.returncode == 1
        assert "no keeper answers" in done.stderr
        assert "bin/up" in done.stderr
        assert "no keeper runs" in said(running, "down")
        spec = running.spec(0)
        assert [one for one in running.traces(spec) if "directory" not in one] == [
            "its image is still held"
        ]

    def test_purge_removes_what_the_kernel_holds(self, running: Host) -> None:
        said(running, "purge")
        assert running.cgroups.instances() == ()
        for number in (0, 1):
            assert running.containers(running.spec(number)) == 0


def runtime(host: Host, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m runtime` for a host."""
    return subprocess.run(
        [sys.executable, "-m", "runtime", *argv],
        env=host.environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def said(host: Host, *argv: str) -> str:
    """The output of a command that must succeed."""
    done = runtime(host, *argv)
    assert done.returncode == 0, done.stderr
    return done.stdout
