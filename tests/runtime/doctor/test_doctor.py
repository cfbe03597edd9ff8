"""What the doctor finds, on recorded facts and on this machine."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from runtime import doctor, network, probes
from runtime.cgroup import layout_in
from runtime.config import HostConfig
from runtime.doctor import CheckState, Finding
from runtime.network.firewalls import foreign_blocks
from tests.runtime.network.conftest import Namespace, inside, namespace
from tests.support import leftovers, network_parts

__all__ = ["namespace"]

V2 = layout_in("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")


@pytest.fixture
def config(tmp_path: Path) -> HostConfig:
    return HostConfig(
        "local",
        leftovers.scope(),
        tmp_path / "host",
        IPv4Network("100.98.0.0/16"),
        range(10000, 20000),
    )


def named(findings: tuple[Finding, ...], name: str) -> Finding:
    (found,) = [finding for finding in findings if finding.name == name]
    return found


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("crun version 1.8.1\nspec: 1.0.0\n+SYSTEMD +CAP +SECCOMP +EBPF\n", CheckState.OK),
        ("crun version 1.21\n+SECCOMP\n", CheckState.OK),
        ("crun version 1.7.2\n+SECCOMP\n", CheckState.FAIL),
        ("crun version 1.8.1\n+CAP\n", CheckState.FAIL),
        ("", CheckState.FAIL),
    ],
)
def test_crun_must_be_new_enough_and_know_seccomp(said: str, state: CheckState) -> None:
    assert doctor.crun_finding(said).state is state


def test_a_controller_that_is_not_delegated_is_named_with_the_remedy() -> None:
    found = doctor.cgroup_finding(V2, "cpuset cpu io pids")
    assert found.state is CheckState.FAIL
    assert "without memory" in found.found
    assert "cgroup_enable=memory" in found.remedy
    assert doctor.cgroup_finding(V2, "cpuset cpu io memory pids").state is CheckState.OK


FIREWALLS = """
table ip filter {
  chain DOCKER-USER {
    counter
  }
  chain FORWARD {
    type filter hook forward priority 0; policy drop;
    jump DOCKER-USER
  }
}
table inet firewalld {
  chain filter_FORWARD {
    type filter hook forward priority 10; policy accept;
    ct state established,related accept
    reject with icmpx type admin-prohibited
  }
}
table inet harmless {
  chain c {
    type filter hook forward priority 5; policy accept;
    tcp dport 25 drop
  }
  chain i {
    type filter hook input priority 0; policy drop;
  }
}
table ip6 other {
  chain c {
    type filter hook forward priority 0; policy drop;
  }
}
"""


@pytest.mark.root
def test_forward_policies_and_last_rules_of_other_firewalls_are_found(
    config: HostConfig, namespace: Namespace
) -> None:
    with inside(namespace()):
        network.ensure_host(config)
        assert foreign_blocks(config) == []
        load(FIREWALLS)
        assert foreign_blocks(config) == ["ip filter FORWARD", "inet firewalld filter_FORWARD"]
        # What the remedy says, in nft's words.
        load(f'add rule ip filter DOCKER-USER iifname "{config.interface_prefix}*" accept')
        assert foreign_blocks(config) == ["inet firewalld filter_FORWARD"]


def load(rules: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


def test_what_other_firewalls_drop_comes_with_a_remedy(config: HostConfig) -> None:
    assert doctor.firewall_finding(config, []).state is CheckState.OK
    found = doctor.firewall_finding(config, ["ip filter FORWARD"])
    assert found.state is CheckState.WARN
    assert "ip filter FORWARD" in found.found
    assert f"-i {config.interface_prefix}+" in found.remedy


def test_a_host_without_a_resolver_is_told_so(
    config: HostConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.network.host._RESOLV_CONFS", ())
    found = named(doctor.check(config), "names")
    assert found.state is CheckState.WARN
    assert "STOA_RESOLVER=100.98.0.1" in found.remedy
    known = replace(config, resolver=IPv4Address("192.0.2.53"))
    assert named(doctor.check(known), "names").state is CheckState.OK


@pytest.mark.parametrize(
    ("used", "most", "instances", "state"),
    [
        (100, 262144, 1000, CheckState.OK),
        (100, 65536, 0, CheckState.OK),
        (100, 32768, 0, CheckState.WARN),
        (100, 131072, 1000, CheckState.WARN),
        (250_000, 262144, 10, CheckState.WARN),
    ],
)
def test_the_table_of_connections_grows_with_the_instances(
    used: int, most: int, instances: int, state: CheckState
) -> None:
    found = doctor.connections_finding(used, most, instances=instances)
    assert found.state is state
    assert ("nf_conntrack_max" in found.remedy) == (state is CheckState.WARN)


@pytest.mark.parametrize(
    ("to", "device", "state"),
    [
        ("default", "eth0", CheckState.OK),
        ("192.0.2.0/24", "eth0", CheckState.OK),
        ("100.64.0.0/10", "tailscale0", CheckState.FAIL),
        ("100.98.7.7", "wg0", CheckState.FAIL),
    ],
)
def test_a_subnet_somebody_routes_already_is_refused(
    config: HostConfig, to: str, device: str, state: CheckState
) -> None:
    assert doctor.subnet_finding(config, [{"dst": to, "dev": device}]).state is state


def test_our_own_routes_are_no_conflict(config: HostConfig) -> None:
    route = {"dst": "100.98.1.0", "dev": f"{config.interface_prefix}2710"}
    assert doctor.subnet_finding(config, [route]).state is CheckState.OK


@pytest.mark.parametrize(
    ("text", "version"), [("6.18.44-x", (6, 18)), ("crun version 1.8.1", (1, 8)), ("?", (0, 0))]
)
def test_versions_are_read_out_of_sentences(text: str, version: tuple[int, int]) -> None:
    assert doctor.version_in(text) == version


def test_one_fail_makes_the_exit_code_1_and_every_remedy_is_printed(
    config: HostConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = Finding("kernel", CheckState.OK, "6.1")
    bad = Finding("crun", CheckState.FAIL, "not there", "apt-get install crun")
    monkeypatch.setattr(doctor, "check", lambda _: (good,))
    assert doctor.main(config, json=False) == 0
    monkeypatch.setattr(doctor, "check", lambda _: (good, bad))
    assert doctor.main(config, json=False) == 1
    assert "→ apt-get install crun" in capsys.readouterr().out
    assert doctor.main(config, json=True) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == {
        "name": "crun", "state": "fail", "found": "not there", "remedy": "apt-get install crun"
    }  # fmt: skip


@pytest.mark.root
def test_this_machine_is_fit_and_looking_leaves_nothing(config: HostConfig) -> None:
    findings = doctor.check(config)
    assert [finding for finding in findings if finding.state is CheckState.FAIL] == []
    assert all(finding.remedy for finding in findings if finding.state is not CheckState.OK)
    assert str(config.state_dir) not in Path("/proc/self/mounts").read_text()
    assert list(config.state_dir.iterdir()) == []
    assert network_parts.listing(config).empty


@pytest.mark.root
def test_a_file_system_without_mapped_ids_is_found_by_trying(tmp_path: Path) -> None:
    assert probes.layered_rootfs(tmp_path) == ""
    with_ramfs(tmp_path)
    try:
        problem = probes.layered_rootfs(tmp_path / "ram")
    finally:
        subprocess.run(["umount", tmp_path / "ram"], check=True)
    assert problem != ""


@pytest.mark.root
def test_another_stoa_on_the_same_scope_is_found(config: HostConfig, published: None) -> None:
    found = named(doctor.check(config), "scope")
    assert found.state is CheckState.FAIL
    assert "10000" in found.found
    assert "STOA_SCOPE" in found.remedy


@pytest.fixture
def published(config: HostConfig) -> Iterator[None]:
    network.ensure_host(config)
    network_parts.publish(config, published_port=10000, container_port=8000)
    yield
    network.remove_host(config)


def with_ramfs(place: Path) -> None:
    """A ramfs: it takes no mapped ids, like network file systems."""
    (place / "ram").mkdir()
    subprocess.run(["mount", "-t", "ramfs", "ramfs", place / "ram"], check=True)
