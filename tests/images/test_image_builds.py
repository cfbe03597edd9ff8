"""The images themselves: small, bare, the same bytes every time, and built once."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "images/build"


def build(cache: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [BUILD, "--cache", cache, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={**os.environ, **environ},
    )


def built(cache: Path, *arguments: str) -> list[dict[str, str]]:
    done = build(cache, *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def blob(layout: str, digest: str) -> Path:
    return Path(layout) / "blobs/sha256" / digest.removeprefix("sha256:")


def manifest(image: dict[str, str]) -> Any:
    return json.loads(blob(image["layout"], image["digest"]).read_text())


def config(image: dict[str, str]) -> Any:
    return json.loads(blob(image["layout"], manifest(image)["config"]["digest"]).read_text())


def files(image: dict[str, str]) -> dict[str, tarfile.TarInfo]:
    found: dict[str, tarfile.TarInfo] = {}
    for layer in manifest(image)["layers"]:
        with tarfile.open(blob(image["layout"], layer["digest"])) as archive:
            found.update({entry.name: entry for entry in archive})
    return found


@pytest.fixture(scope="module")
def cache() -> Path:
    """The checkout's own cache, which is warm after the first run (STOA_CACHE as in bin/up)."""
    return Path(os.environ.get("STOA_CACHE", ROOT / "var/cache"))


@pytest.fixture(scope="module")
def images(cache: Path) -> dict[str, dict[str, str]]:
    if os.geteuid() != 0:
        pytest.skip("needs root: the base image's files belong to several owners")
    if not shutil.which("podman"):
        pytest.skip("needs the program podman; bin/test installs it")
    lines = [*built(cache), *built(cache, "--only", "hello")]
    return {line["name"]: line for line in lines}


@pytest.mark.root
@pytest.mark.slow
def test_each_image_is_a_whole_layout_under_its_digest(images: dict[str, dict[str, str]]) -> None:
    assert set(images) == {"base", "shop", "hello"}
    for image in images.values():
        raw = blob(image["layout"], image["digest"]).read_bytes()
        assert "sha256:" + hashlib.sha256(raw).hexdigest() == image["digest"]
        for part in (manifest(image)["config"], *manifest(image)["layers"]):
            assert blob(image["layout"], part["digest"]).stat().st_size == part["size"]


@pytest.mark.root
def test_the_base_is_small_and_holds_no_shell_and_no_package_manager(
    images: dict[str, dict[str, str]],
) -> None:
    found = files(images["base"])
    assert sum(entry.size for entry in found.values()) <= 35 * 1024 * 1024
    programs = {name for name in found if name.startswith(("usr/bin/", "usr/sbin/"))}
    assert programs == {"usr/bin/python", "usr/bin/python3", "usr/bin/python3.11"}
    assert not any(entry.mode & 0o6000 for entry in found.values()), "no set-uid programs"


@pytest.mark.root
def test_the_base_runs_any_python_program(
    images: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    for layer in manifest(images["base"])["layers"]:
        archive = blob(images["base"]["layout"], layer["digest"])
        subprocess.run(["tar", "-xf", archive, "-C", root], check=True)
    program = (
        "import http.server, json, sqlite3, ssl, asyncio, ctypes, decimal, email, logging, zoneinfo;"
        "print(ssl.create_default_context().cert_store_stats())"
    )
    done = subprocess.run(
        ["chroot", "--userspec=10001:10001", root, "/usr/bin/python3", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "'x509_ca': 0" not in done.stdout


@pytest.mark.root
def test_the_shop_says_how_it_wants_to_be_run(images: dict[str, dict[str, str]]) -> None:
    wanted = config(images["shop"])["config"]
    assert wanted["User"] == "10001:10001"
    assert wanted["StopSignal"] == "SIGTERM"
    assert wanted["Entrypoint"][0] == "/usr/bin/python3.11"
    assert "PORT=8000" in wanted["Env"]
    assert "8000/tcp" in wanted["ExposedPorts"]
    assert wanted["Labels"]["org.stoa.health-path"] == "/healthz"
    program = {name for name in files(images["shop"]) if name.startswith("app/")}
    assert "app/main.pyc" in program
    assert not any(name.endswith(".py") for name in program), "bytecode only"


@pytest.mark.root
def test_a_second_run_does_nothing(images: dict[str, dict[str, str]], cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (cache / "oci").rglob("*")}
    again = built(cache)
    assert again == [images["base"], images["shop"]]
    assert {path: path.stat().st_mtime_ns for path in (cache / "oci").rglob("*")} == before


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.long
def test_a_build_from_nothing_gives_the_same_digests(
    images: dict[str, dict[str, str]], cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(cache / "packages", tmp_path / "packages", dirs_exist_ok=True)
    again = built(tmp_path)
    assert [image["digest"] for image in again] == [
        images[name]["digest"] for name in ("base", "shop")
    ]


@pytest.mark.root
@pytest.mark.slow
def test_two_builds_at_once_of_a_directory_with_a_dockerfile_agree(
    images: dict[str, dict[str, str]], cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        'FROM localhost/stoa-base:latest\nCOPY mine.txt /mine.txt\nENTRYPOINT ["/usr/bin/python3"]\n'
    )
    (tmp_path / "mine.txt").write_text("mine")
    argv = [
        str(part) for part in (BUILD, "--cache", cache, "--context", tmp_path, "--name", "mine")
    ]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE) for _ in range(2)]
    answers = [process.communicate(timeout=120)[0] for process in both]

    assert answers[0] == answers[1]
    image = json.loads(answers[0])
    assert "mine.txt" in files(image)
    shutil.rmtree(image["layout"])


def test_a_directory_without_a_dockerfile_is_refused(tmp_path: Path) -> None:
    done = build(tmp_path / "cache", "--context", str(tmp_path), "--name", "mine")
    assert done.returncode == 1
    assert f"--context {tmp_path} holds no file named Dockerfile" in done.stderr


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    for arguments, words in (
        (("--name", "mine"), "--context and --name go together"),
        (("--context", ".", "--name", "Not/Good"), "'Not/Good'"),
        (("--context", ".", "--name", "base"), "not one of base"),
        (("--only", "elephant"), "elephant"),
    ):
        done = build(tmp_path, *arguments)
        assert done.returncode == 2
        assert words in done.stderr


@pytest.mark.root
def test_a_missing_podman_is_said_with_its_remedy(
    images: dict[str, dict[str, str]], cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(cache / "oci", tmp_path / "oci", ignore=shutil.ignore_patterns("shop-*"))
    done = build(tmp_path, "--only", "shop", PATH=str(tmp_path))
    assert done.returncode == 1
    assert (
        "the program 'podman' is missing; install it with: apt-get install -y podman" in done.stderr
    )
