"""What of a Stoa that runs is concerned by which setting and which file."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from installer.supervising.concerns import CONCERNS, PROGRAMS, _files, fingerprints, is_of
from settings.setting import Reader
from settings.table import KEPT

REPO = Path(__file__).resolve().parents[2]
SETTINGS = {one.name: one for one in KEPT}
# What starts each program's Python, without acting.
MODULES = {
    "keeper": "runtime.keeper.__main__",
    "host-agent": "workers.agents.host.main",
    "edge-agent": "workers.agents.edge.main",
    "depot": "controlplane.depot.app",
    "web": "controlplane.wsgi",
    "events": "controlplane.asgi",
    "control": "controlplane.wsgi, controlplane.celery, workers.tasks",
    "sweep": "controlplane.wsgi, controlplane.celery, workers.tasks",
    "beat": "controlplane.celery, workers.schedule",
}


class Noted(Mapping[str, str]):
    """An environment that notes which variables are read."""

    def __init__(self) -> None:
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_every_program_of_the_supervisor_is_in_the_table_but_haproxy() -> None:
    template = (REPO / "deploy/supervisord.conf.in").read_text()
    found = set(re.findall(r"^\[program:(.+)\]", template, re.M))
    assert found - {"haproxy"} == set(PROGRAMS)


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_concerns_somebody_or_only_bin_up(setting: str) -> None:
    concerned = [name for name in PROGRAMS if setting in CONCERNS[name].settings]
    assert concerned or {Reader.BIN, Reader.CLI} & SETTINGS[setting].readers, setting


@pytest.mark.parametrize(
    ("program", "reader"),
    [
        ("keeper", "host"),
        ("host-agent", "host"),
        ("edge-agent", "edge"),
    ],
)
def test_a_program_is_concerned_by_every_setting_that_its_configuration_reads(
    program: str, reader: str
) -> None:
    from runtime.config import host_config
    from runtime.edge.config import edge_config

    noted = Noted()
    if reader == "host":
        host_config(noted)
    else:
        edge_config(noted, descriptors=20_000)
    read = noted.read & {*SETTINGS}
    assert read
    of_agents = (
        {"STOA_REGISTRY_AUTH_FILE", "STOA_REGISTRY_CA_DIR"} if program == "keeper" else set()
    )
    assert {one for one in read if one not in CONCERNS[program].settings} <= of_agents


@pytest.mark.parametrize("program", MODULES)
def test_a_program_is_concerned_by_every_file_that_it_loads(program: str, tmp_path: Path) -> None:
    for name in ("django-secret-key", "fernet-key"):
        (tmp_path / name).write_text("x")
    code = (
        f"import sys; import {MODULES[program]}\n"
        "for module in list(sys.modules.values()): print(getattr(module, '__file__', None) or '')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPO,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPO),
            "STOA_VAR": str(tmp_path),
            "STOA_SECRETS_DIR": str(tmp_path),
            "STOA_EDGE_STATE": str(tmp_path / "edge"),
            "STOA_HOST_STATE": str(tmp_path / "host"),
            "STOA_PROGRAM": program,
            "DJANGO_SETTINGS_MODULE": "controlplane.settings.base",
            "DATABASE_URL": "postgres://stoa@/stoa?host=/nowhere",
            "STOA_BROKER_URL": "redis://127.0.0.1:1/0",
        },
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ours = [
        Path(line).relative_to(REPO).as_posix()
        for line in done.stdout.splitlines()
        if line.startswith(f"{REPO}/") and ".venv" not in line
    ]
    assert len(ours) > 3
    assert [path for path in ours if not is_of(CONCERNS[program], path)] == []


@pytest.mark.parametrize(
    ("path", "programs"),
    [
        ("tenants/states.py", {"depot", "web", "events", "control", "sweep", "beat"}),
        ("workers/flows/running/run.py", {"depot", "web", "events", "control", "sweep", "beat"}),
        ("runtime/edge/haproxy_cfg.py", {"edge-agent"}),
        ("runtime/edge/hold.lua", {"edge-agent"}),
        ("runtime/keeper/keeper.py", {"keeper", "host-agent"}),
        ("settings/hosts.py", set(PROGRAMS) - {"postgres", "redis"}),
        ("images/build", set()),
        ("deploy/run-redis", {"redis"}),
        ("docs/operating.md", set()),
        ("bench/parts/common.py", set()),
    ],
)
def test_a_file_concerns_whom_it_concerns(path: str, programs: set[str]) -> None:
    everybodys = {"depot", "web", "events", "control", "sweep", "beat"}
    found = {name for name in PROGRAMS if is_of(CONCERNS[name], path)}
    assert found == programs | (everybodys if path.startswith("runtime/") else set())


@pytest.mark.parametrize(
    ("setting", "not_concerned"),
    [
        ("STOA_EDGE_HELD_PER_TENANT", set(PROGRAMS) - {"edge-agent"}),
        ("STOA_DISK_LOW_PERCENT", set(PROGRAMS) - {"host-agent"}),
        ("STOA_ALARM_WEBHOOK", {"keeper", "host-agent", "edge-agent", "redis", "postgres"}),
        ("STOA_LAB_CPU_MILLIS", set(PROGRAMS)),
    ],
)
def test_another_value_of_a_setting_changes_the_fingerprints_of_whom_it_concerns(
    setting: str, not_concerned: set[str]
) -> None:
    before, after = (fingerprints({setting: value}) for value in ("1", "2"))
    same = {name for name in PROGRAMS if before[name] == after[name]}
    assert same == not_concerned


@pytest.mark.parametrize("name", CONCERNS)
def test_every_concern_is_made_from_files_that_are_there(name: str) -> None:
    assert [path for path in _files() if is_of(CONCERNS[name], path)]
