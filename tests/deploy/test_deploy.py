"""The files that start Stoa: what they name must exist, and no registry or index is named in them."""

import re
import shutil
import subprocess
from configparser import RawConfigParser
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]


def test_every_python_module_under_the_supervisor_exists() -> None:
    template = RawConfigParser(strict=False, allow_no_value=True)
    template.read(REPO / "deploy/supervisord.conf.in")
    commands = [template[section]["command"] for section in template if section[:8] == "program:"]
    assert len(commands) == 12
    modules = [found[1] for line in commands if (found := re.search(r"python -m (\S+)", line))]
    assert len(modules) == 4
    assert all(find_spec(module) for module in modules)


def test_compose_starts_the_same_programs_from_one_image() -> None:
    compose = yaml.safe_load((REPO / "docker-compose.yml").read_text())
    services = compose["services"]
    assert {
        "postgres",
        "redis",
        "web",
        "depot",
        "events",
        "control",
        "sweep",
        "beat",
        "host",
        "edge",
    } <= set(services)
    foreign = {name: made["image"] for name, made in services.items() if made["image"] != "stoa"}
    assert foreign == {"postgres": "postgres:15", "redis": "redis:7"}
    enter = (REPO / "deploy/compose/enter").read_text()
    for name, made in services.items():
        if name not in foreign:
            assert re.search(rf"^  {made['command'][0]}\)", enter, re.M), name


def test_compose_config_passes() -> None:
    if not shutil.which("docker-compose"):
        pytest.skip("docker-compose is not installed; bin/test installs it")
    done = subprocess.run(
        ["docker-compose", "-f", str(REPO / "docker-compose.yml"), "config"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_lock_file_names_no_place_to_download_from() -> None:
    lock = (REPO / "requirements.lock").read_text()
    assert not re.search(r"https?://|--index-url|--extra-index-url|--find-links", lock)
    assert lock.count("--hash=sha256:") > 100
