"""Processes, claims and leftovers of a Stoa: found by marks of their own, whatever their parent is."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from installer.commands import wait_for
from installer.installation import Installation, is_unlocked
from installer.machine import networks, processes, scopes
from installer.progress import InstallError, Steps
from installer.refusals import leftovers
from settings.site import load

_SLEEP = "import time; print('up', flush=True); time.sleep(60)"
_DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {_SLEEP}"


@contextmanager
def _running(code: str, *words: str, **environ: str) -> Iterator["subprocess.Popen[str]"]:
    argv = [sys.executable, "-c", code, *words]
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def _site(var: Path, **given: str) -> Installation:
    environ = {"STOA_VAR": str(var), "STOA_SCOPE": "tproc", **given}
    return Installation(load(environ, var), Steps(None))


def test_processes_are_found_by_their_mark_and_by_the_file_of_their_start(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with _running(_SLEEP, STOA_SUPERVISED=str(tmp_path)) as marked, _running(_SLEEP) as noted:
        note = tmp_path / "run/web.started"
        note.write_text(f"{noted.pid} {processes.started(noted.pid)}\n")
        assert processes.of(tmp_path) == sorted((marked.pid, noted.pid))
        note.write_text(f"{noted.pid} 1\n")  # its number is another process's by now
        assert processes.of(tmp_path) == [marked.pid]
        assert processes.of(tmp_path / "other") == []


@pytest.mark.parametrize(("code", "how"), [(_SLEEP, signal.SIGTERM), (_DEAF, signal.SIGKILL)])
def test_a_process_that_does_not_end_is_killed(
    tmp_path: Path, code: str, how: signal.Signals
) -> None:
    with _running(code, STOA_SUPERVISED=str(tmp_path)) as process:
        processes.end_all(tmp_path, 0.5)
        assert process.wait(5) == -how
    assert processes.of(tmp_path) == []


@pytest.fixture
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(scopes, "_CLAIMS", tmp_path / "claims")
    return tmp_path / "claims"


@contextmanager
def _another_stoa(var: Path, **given: str) -> Iterator[None]:
    """One that has claimed what it was given, and whose supervisor runs."""
    (var / "run").mkdir(parents=True)
    scopes.claim(_site(var, **given).site)
    with _running(_SLEEP, "-c", str(var / "run/supervisord.conf")) as process:
        (var / "run/supervisord.pid").write_text(str(process.pid))
        yield


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "has the scope 'tproc'"),
        (
            {"STOA_SCOPE": "tother", "STOA_LAB_SUBNET": "198.18.32.0/19"},
            "the network 100.96.0.0/16",
        ),
        ({"STOA_SCOPE": "tother", "STOA_SUBNET": "100.97.0.0/16"}, "further hosts' network"),
    ],
)
def test_what_another_stoa_that_runs_has_is_refused(
    tmp_path: Path, claims: Path, given: dict[str, str], said: str
) -> None:
    mine = _site(tmp_path / "mine", STOA_HOSTS="2", **given)
    with _another_stoa(tmp_path / "other", STOA_HOSTS="2"):
        with pytest.raises(InstallError, match=said) as refused:
            scopes.refuse_taken(mine.site)
        assert str(tmp_path / "other") in str(refused.value)
        assert scopes.is_ours(mine.site) == bool(given)
        scopes.release(mine.site)
        assert (claims / "tproc").exists()
    scopes.refuse_taken(mine.site)  # a Stoa that does not run has nothing


def test_a_stoa_gives_its_own_scope_back(tmp_path: Path, claims: Path) -> None:
    mine = _site(tmp_path)
    scopes.claim(mine.site)
    scopes.refuse_taken(mine.site)
    assert scopes.is_ours(mine.site)
    scopes.release(mine.site)
    assert not claims.exists()


def test_two_of_one_stoa_do_not_work_at_once(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert is_unlocked(tmp_path)
    with _site(tmp_path).locked():
        assert not is_unlocked(tmp_path)
        # What it starts does not keep the lock.
        with _running(_SLEEP):
            pass
    assert is_unlocked(tmp_path)


def test_settings_are_those_of_the_one_that_was_waited_for(tmp_path: Path) -> None:
    """A bin/up that waits has read the file of before."""
    first = _site(tmp_path, STOA_HTTP_PORT="8181")
    assert not first.has_saved_these
    first.save_settings()
    assert first.has_saved_these
    assert load({"STOA_VAR": str(tmp_path)}, tmp_path).given["STOA_HTTP_PORT"] == "8181"


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without these trees: a kernel may lack any of them."""
    for name in ("_BLOCK", "_NETNS", "_DEVICES", "_CGROUPS"):
        monkeypatch.setattr(leftovers, name, tmp_path / "machine" / name)
    (tmp_path / "mounts").write_text("proc /proc proc rw 0 0\n")
    monkeypatch.setattr(leftovers, "_MOUNTS", tmp_path / "mounts")
    return tmp_path / "machine"


def test_nothing_is_left_where_trees_are_missing(tmp_path: Path, nothing: Path) -> None:
    leftovers.refuse_leftovers(_site(tmp_path / "var"))


def test_all_that_is_left_is_named(tmp_path: Path, nothing: Path) -> None:
    var = tmp_path / "var"
    of = _site(var)
    mark = of.environ["STOA_ID"][:8]
    (tmp_path / "mounts").write_text(f"/dev/loop0 {var}/host/store btrfs rw 0 0\n")
    for place in (
        "_BLOCK/loop0/loop",
        "_NETNS/tproc-host2",
        f"_DEVICES/sb-{mark}",
        f"_DEVICES/sl-{mark}-2",
        "_CGROUPS/cpu/tproc_local",
        "_CGROUPS/tproc_local.launch",
        "_CGROUPS/tproc_host2",
        "_CGROUPS/tproc_hosting",
    ):
        (nothing / place).mkdir(parents=True)
    (nothing / "_BLOCK/loop0/loop/backing_file").write_text(f"{var}/host/store.img\n")
    with _running(_SLEEP, STOA_SUPERVISED=str(var)) as process:
        with pytest.raises(InstallError, match="this is left") as refused:
            leftovers.refuse_leftovers(of)
        told = str(refused.value).splitlines()[1:]
        assert f"process {process.pid}" in told[0]
    found = [line.split(maxsplit=1)[1].rpartition("/")[2] for line in told[1:]]
    assert sorted(found) == sorted(
        [
            *("store", "store.img", "tproc-host2", f"sb-{mark}", f"sl-{mark}-2"),
            *("tproc_host2", "tproc_local", "tproc_local.launch"),
        ]
    )


@pytest.mark.parametrize(
    ("listens_at", "asked", "is_in_the_way"),
    [
        ("*", "", True),
        ("127.0.0.1", "", True),
        ("127.0.0.1", "100.96.0.1", False),
        ("0.0.0.0", "100.96.0.1", True),  # noqa: S104 - compared, not listened at
        ("[::]", "100.96.0.1", True),
        ("100.96.0.1", "100.96.0.1", True),
    ],
)
def test_who_listens_is_in_the_way_at_his_addresses(
    listens_at: str, asked: str, is_in_the_way: bool
) -> None:
    subject = networks.PortHolder(listens_at, 80, "somebody")
    assert subject.is_in_the_way(80, asked) == is_in_the_way
    assert not subject.is_in_the_way(81, asked)


def test_a_wait_ends_with_its_condition_or_its_time() -> None:
    begun = iter(range(10))
    assert wait_for(lambda: next(begun) > 2, 5, pause=0)
    assert not wait_for(lambda: False, 0.01, pause=0.001)
