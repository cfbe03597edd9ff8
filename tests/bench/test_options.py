"""Every bench says what it takes and what it needs, and ends in words where something is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.parts import options
from bench.parts.options import Parser

REPO = Path(__file__).resolve().parents[2]
BENCHES = sorted(
    path.stem for path in (REPO / "bench").glob("*.py") if "__main__" in path.read_text()
)


@pytest.mark.parametrize("bench", BENCHES)
def test_every_bench_takes_quick_and_json(bench: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{bench}", "--help"],
        cwd=REPO,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPO)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout
    assert "--json FILE" in done.stdout


@pytest.mark.parametrize(
    ("bench", "package"),
    [
        ("signup", "docker.io"),
        ("footprint", "docker.io"),
        ("engine", "runc"),
        ("engine", "busybox-static"),
        ("neighbours", "busybox-static"),
        ("thousand", "crun"),
        ("snapshots", "btrfs-progs"),
        ("door", "haproxy"),
        ("chaos", "haproxy"),
    ],
)
def test_a_bench_names_what_a_bare_machine_lacks(
    bench: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib import import_module

    def which(need: str, path: str) -> None:
        return None

    monkeypatch.setattr("shutil.which", which)
    with pytest.raises(SystemExit) as ended:
        import_module(f"bench.{bench}").main(["--quick"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert package in told
    assert "apt-get install" in told


def test_what_the_peers_need_is_not_asked_for_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda need, **_: need != "docker" or None)
    parser = Parser("x", quick="less", needs=("crun",), peers=("docker",), is_root=False)
    assert parser.read(["--only-stoa"]).only_stoa
    with pytest.raises(SystemExit):
        parser.read([])


def test_what_a_bench_can_do_without_is_only_asked_for_by_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed: list[str] = []
    monkeypatch.setattr("shutil.which", lambda need, **_: need != "nginx" or None)
    monkeypatch.setattr(options, "install", installed.extend)
    parser = Parser("x", quick="less", needs=("crun",), extras=("nginx",), is_root=False)
    assert not parser.read([]).install
    assert not installed
    with pytest.raises(SystemExit):  # it is still not there afterwards
        parser.read(["--install"])
    assert installed == ["nginx-light"]
    assert "lacks nginx-light" in capsys.readouterr().err


@pytest.mark.parametrize("bench", BENCHES)
def test_a_place_for_the_figures_that_cannot_be_is_told_before_anything_runs(bench: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{bench}", "--json", "/nowhere/figures.json"],
        cwd=REPO,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPO)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stdout
    assert "no directory /nowhere" in done.stderr


def test_every_program_that_a_bench_calls_has_a_package() -> None:
    for needs in (options.HOST, options.PEERS):
        assert set(needs) <= options.PACKAGES.keys()
