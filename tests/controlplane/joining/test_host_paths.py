"""What a joined machine keeps: for root alone, in one piece, and the same at every repeat."""

import subprocess
from pathlib import Path

import pytest

from controlplane.joining import offer
from controlplane.joining.errors import JoiningError
from controlplane.joining.host_paths import HostPaths
from controlplane.joining.programs import _unit_text
from settings.inner import REPO


@pytest.fixture
def place(tmp_path: Path) -> HostPaths:
    return HostPaths(tmp_path / "stoa")


def test_credentials_are_made_once_for_their_owner_alone(place: HostPaths) -> None:
    first = place.credentials()
    assert place.credentials() == first
    assert len(set(first)) == 3
    assert {one.stat().st_mode & 0o777 for one in place.secrets.iterdir()} == {0o600}


def test_settings_come_back_as_they_went_and_a_shell_reads_the_same(place: HostPaths) -> None:
    url = "rediss://host.a:p-_4@10.0.0.1:18801/0?ssl_cert_reqs=required&ssl_ca_certs=/x/ca.crt"
    place.write(place.host_env, {"STOA_BROKER_URL": url, "STOA_RESOLVER": ""})
    assert place.settings() == {"STOA_BROKER_URL": url, "STOA_RESOLVER": ""}
    assert place.host_env.stat().st_mode & 0o777 == 0o600
    script = f'source {place.host_env}; printf %s "$STOA_BROKER_URL"'
    read = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    assert read.stdout == url


@pytest.mark.parametrize("value", ["a'b", "a\nb", "$(id)", "a b"])
def test_what_a_shell_could_misread_is_refused(place: HostPaths, value: str) -> None:
    with pytest.raises(JoiningError, match="STOA_HOST_NAME"):
        place.write(place.host_env, {"STOA_HOST_NAME": value})


def test_one_join_at_a_time(place: HostPaths) -> None:
    with place.locked(), pytest.raises(JoiningError, match="at work"), place.locked():
        pass


def test_what_is_asked_for_is_offered_and_the_rest_is_measured(tmp_path: Path) -> None:
    found = offer.measure(tmp_path, {"cpu_millis": 1500, "reserve_cpu_millis": 0})
    assert (found.capacity["cpu_millis"], found.reserve["cpu_millis"]) == (1500, 0)
    assert 0 < found.reserve["memory_bytes"] < found.capacity["memory_bytes"]
    with pytest.raises(JoiningError, match="--reserve-cpu-millis"):
        offer.measure(tmp_path, {"cpu_millis": 1500, "reserve_cpu_millis": 1500})


@pytest.mark.parametrize("name", ["keeper", "agent"])
def test_a_unit_leaves_shops_alone_when_its_program_ends(place: HostPaths, name: str) -> None:
    unit = _unit_text(name, place, "stoa")
    assert "\nKillMode=process\n" in unit
    assert "\nDelegate=yes\n" in unit
    assert f"\nExecStart={REPO}/deploy/run-host {place.var} {name}\n" in unit
    assert "@" not in unit
