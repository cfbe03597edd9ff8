"""Packages and .venv: what is missing is installed, and nothing is left of an installer that was killed."""

import os
import subprocess
from pathlib import Path

import pytest

from installer.machine import packages, virtualenv
from installer.progress import InstallError, Steps

REPO = Path(__file__).resolve().parents[2]
_APT = """#!/bin/sh
echo "$@" >>"{log}"
case " $* " in *" install "*) cp {guard} {seen}; {act} ;; esac
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose PATH has nothing but an apt-get that a test writes."""
    monkeypatch.setattr(packages, "_GUARD", tmp_path / "policy-rc.d")
    monkeypatch.setattr(packages, "_SYSTEMD", tmp_path / "no-systemd")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return tmp_path


def _apt(machine: Path, act: str) -> None:
    apt = machine / "bin/apt-get"
    apt.write_text(
        _APT.format(
            log=machine / "asked", guard=machine / "policy-rc.d", seen=machine / "seen", act=act
        )
    )
    apt.chmod(0o755)


def _needs(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {"there": lambda: True, "wanted": (machine / "bin/wanted").exists}
    monkeypatch.setattr(packages, "KINDS", {"server": needs})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs")
@pytest.mark.parametrize("before", ["", packages._GUARD_TEXT])
def test_what_is_missing_is_installed_and_no_service_starts_by_it(
    machine: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """before: the guard of an installer that was killed in the middle."""
    _needs(machine, monkeypatch)
    _apt(machine, f"touch {machine}/bin/wanted")
    guard = machine / "policy-rc.d"
    if before:
        guard.write_text(before)
    for _ in range(2):
        packages.ensure("server", Steps(None))
    asked = (machine / "asked").read_text().splitlines()
    assert [line.split()[-1] for line in asked] == ["update", "wanted"]
    assert "exit 101" in (machine / "seen").read_text()
    assert not guard.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs")
def test_a_guard_of_somebody_else_stays(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _needs(machine, monkeypatch)
    _apt(machine, f"touch {machine}/bin/wanted")
    (machine / "policy-rc.d").write_text("#!/bin/sh\nexit 0\n")
    packages.ensure("server", Steps(None))
    assert (machine / "policy-rc.d").read_text() == "#!/bin/sh\nexit 0\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs")
@pytest.mark.parametrize(
    ("act", "said"), [("exit 3", "apt-get could not install"), ("true", "is not there")]
)
def test_an_installation_that_fails_says_so_and_takes_the_guard_away(
    machine: Path, monkeypatch: pytest.MonkeyPatch, act: str, said: str
) -> None:
    _needs(machine, monkeypatch)
    _apt(machine, act)
    with pytest.raises(InstallError, match=said):
        packages.ensure("server", Steps(None))
    assert not (machine / "policy-rc.d").exists()


def test_a_host_that_joins_and_a_control_plane_have_their_shops_by_the_same_packages() -> None:
    host, server = packages.KINDS["host"], packages.KINDS["server"]
    assert host.items() <= server.items() <= packages.KINDS["developer"].items()
    dockerfile = (REPO / "deploy/Dockerfile").read_text()
    assert {one for one in host if one not in dockerfile} <= {"btrfs-progs", "skopeo"}


def test_an_environment_of_the_same_list_and_place_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").touch(mode=0o755)
    monkeypatch.setattr(virtualenv, "_VENV", venv)
    monkeypatch.setattr(virtualenv, "PYTHON", venv / "bin/python")
    (venv / ".installed").write_text(virtualenv._wanted())
    monkeypatch.setattr(virtualenv, "_run", lambda *_: pytest.fail("it ran a command"))
    virtualenv.ensure(Steps(None))


def test_a_broken_translation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "locale/ja/LC_MESSAGES/django.po"
    place.parent.mkdir(parents=True)
    monkeypatch.setattr(virtualenv, "REPO", tmp_path)
    place.write_text('msgid "a"\nmsgstr "b"\n')
    virtualenv.compile_languages()
    assert place.with_suffix(".mo").exists()
    place.write_text('msgid "a"\nmsgstr\n')
    os.utime(place, (place.stat().st_atime, place.with_suffix(".mo").stat().st_mtime + 1))
    with pytest.raises(InstallError, match=r"django\.po has a mistake"):
        virtualenv.compile_languages()


@pytest.mark.parametrize("program", ["up", "stoa", "test"])
def test_every_starter_finds_its_python_by_the_same_code(program: str) -> None:
    text = (REPO / "bin" / program).read_text()
    assert 'python.sh"' in text
    assert "get_python" in text


def test_a_python_that_fits_is_found_without_installing_anything() -> None:
    script = f'source {REPO}/bin/python.sh; get_python; exec "$PYTHON" -c "$CODE"'
    done = subprocess.run(
        ["bash", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/bin", "CODE": "import sys, venv; print(sys.version_info[:2])"},
    )
    assert done.stdout >= "(3, 11)"


# In a mount namespace of its own, where no Python is until apt-get has brought it.
_BARE = """
mount --bind /dev/null "$(readlink -f /usr/bin/python3)"
source "$REPO/bin/python.sh"
get_python
exec "$PYTHON" -c "print('found')"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has mount namespaces")
@pytest.mark.parametrize(
    ("brings", "code", "said"),
    [
        ("python3-venv", 0, ""),
        ("python3.11-venv", 0, ""),
        ("nothing", 1, "could not install a Python 3.11 or newer"),
    ],
)
def test_a_machine_without_python_gets_one(
    tmp_path: Path, brings: str, code: int, said: str
) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text(
        "#!/bin/sh\nfor last; do :; done\n"
        f'[ "$last" != {brings} ] || umount "$(readlink -f /usr/bin/python3)"\n'
    )
    apt.chmod(0o755)
    others = list(Path("/usr/bin").glob("python3.[0-9]*[0-9]"))
    if len(others) != 1:
        pytest.skip("this machine has several Pythons")
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", _BARE, "up"],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "REPO": str(REPO)},
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stdout == ("" if code else "found\n")
