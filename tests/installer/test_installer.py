"""installer/: what a control plane, a further host and a host that joins are made with."""

import os
import re
import stat
import subprocess
from configparser import RawConfigParser
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from installer import secret_files, settings_files
from installer.supervising.supervisor import Supervisor, SupervisorError
from runtime.config import host_config
from settings.setting import SettingError
from settings.site import load, read_file

REPO = Path(__file__).resolve().parents[2]
_TEMPLATE = """
[unix_http_server]
file=@SHORT@/run/supervisor.sock

[supervisord]
pidfile=@VAR@/run/supervisord.pid
logfile=@VAR@/logs/supervisord.log

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[program:sleeper]
command=sleep @SECONDS@
@COMMON@
"""


@pytest.mark.parametrize(
    ("template", "marks"),
    [
        ("supervisord.conf.in", {"RUN": "run", "WEB_PORT": "1", "EVENTS_PORT": "2"}),
        ("supervisord-host.conf.in", {"KEEPER": "keeper", "AGENT": "agent"}),
    ],
)
def test_every_program_of_a_configuration_has_its_log_and_is_started_again(
    tmp_path: Path, template: str, marks: dict[str, str]
) -> None:
    subject = Supervisor(tmp_path, tmp_path, "scope")
    subject.write(template, marks, autostart=True)
    lines = subject.conf.read_text().splitlines()
    assert [one for one in lines if re.search(r"@[A-Z_]+@", one) and one[0] != ";"] == []
    told = RawConfigParser()
    told.read(subject.conf)
    programs = [section for section in told.sections() if section.startswith("program:")]
    assert programs
    for program in programs:
        name = program.removeprefix("program:")
        assert told[program]["stdout_logfile"] == f"{tmp_path}/logs/{name}.log"
        assert told[program]["autorestart"] == "true"
        assert told[program]["command"]


def test_a_supervisor_is_started_once_and_ends_with_its_programs(tmp_path: Path) -> None:
    (tmp_path / "template").write_text(_TEMPLATE)
    subject = Supervisor(tmp_path, tmp_path, "scope")
    assert subject.pid() == 0
    subject.stop()
    subject.write(str(tmp_path / "template"), {"SECONDS": "300"}, autostart=True)
    try:
        subject.start()
        first = subject.pid()
        subject.start()
        assert first == subject.pid() != 0
        subject.ask("start", "sleeper")
        with pytest.raises(SupervisorError, match="nobody"):
            subject.ask("start", "nobody")
    finally:
        subject.stop()
    assert subject.pid() == 0


def test_a_process_that_has_the_number_of_a_supervisor_of_before_is_none(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/supervisord.pid").write_text(f"{os.getpid()}\n")
    assert Supervisor(tmp_path, tmp_path, "scope").pid() == 0


def test_a_directory_too_deep_for_a_socket_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    with pytest.raises(SupervisorError, match="too long a path"):
        Supervisor(deep, deep, "scope").write("supervisord-host.conf.in", {}, autostart=True)
    assert not deep.exists()


def test_a_secret_is_made_once_for_its_owner_alone_and_suits_fernet(tmp_path: Path) -> None:
    file = tmp_path / "secrets/fernet-key"
    made = secret_files.ensure(file)
    assert secret_files.ensure(file) == made
    Fernet(made)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret_files.ensure(tmp_path / "secrets/other") != made


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_compose_makes_secrets_as_bin_up_does(tmp_path: Path) -> None:
    files = [tmp_path / "one", tmp_path / "two"]
    argv = ["/usr/bin/python3", "-S", "-m", "installer", "secrets", "nobody", *map(str, files)]
    for _ in range(2):
        subprocess.run(argv, cwd=REPO, check=True, env={"PATH": os.environ["PATH"]})
    assert {file.owner() for file in files} == {"nobody"}
    text = (REPO / "deploy/compose/enter").read_text()
    assert "/dev/urandom" not in text
    assert re.search(r"installer secrets ", text)


def test_what_is_written_is_read_alike_by_bash_and_by_us(tmp_path: Path) -> None:
    wanted = {"STOA_BROKER_URL": "rediss://h:p=@10.0.0.1:1/0?a=b&c=/d", "STOA_RESOLVER": ""}
    file = tmp_path / "host.env"
    settings_files.write(file, wanted)
    assert read_file(file) == wanted
    done = subprocess.run(
        ["bash", "-euc", f'source "{file}"; echo "$STOA_BROKER_URL|$STOA_RESOLVER|"'],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{wanted['STOA_BROKER_URL']}||\n"


@pytest.mark.parametrize("value", ["$(reboot)", "a b", "x\ny=1", "it's", "`id`"])
def test_what_a_shell_would_act_on_is_not_written(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingError, match="STOA_RESOLVER"):
        settings_files.write(tmp_path / "host.env", {"STOA_RESOLVER": value})
    assert list(tmp_path.iterdir()) == []


def test_further_hosts_have_networks_of_their_own_and_a_host_takes_their_settings(
    tmp_path: Path,
) -> None:
    environ = {"STOA_VAR": str(tmp_path), "STOA_HOSTS": "8", "STOA_LAB_SUBNET": "198.18.32.0/19"}
    site = load(environ, tmp_path).variables
    made = [settings_files.of_further_host(site, f"host{one}", one) for one in range(2, 9)]
    networks = [IPv4Network(one["STOA_SUBNET"]) for one in made]
    assert len(set(networks)) == len(networks)
    assert all(one.subnet_of(IPv4Network("198.18.32.0/19")) for one in networks)
    bridge = IPv4Network("198.18.32.0/22")
    assert not any(one.overlaps(bridge) for one in networks)
    assert len({one["STOA_HOST_GATEWAY"] for one in made} | {site["STOA_POOL_ADDRESS"]}) == 8
    for settings, network in zip(made, networks, strict=True):
        config = host_config(settings)
        assert config.subnet == network
        assert str(config.published_at) == settings["STOA_HOST_ADDRESS"]
        assert len(config.ports) + 256 < network.num_addresses
