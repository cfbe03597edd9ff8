"""The OCI configuration says what CONTRACTS asks of a container; no root needed to see it."""

import json
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from runtime.bundle import HostFeatures, Launch, Program, first_id, oci_config, render
from runtime.bundle.config import environment
from runtime.config import HostConfig
from runtime.errors import SpecInvalidError
from runtime.specs import InstanceSpec
from runtime.units import MIB, Limits

SPEC = InstanceSpec(
    instance_id="ins_0123456789",
    tenant="acme",
    image_digest="sha256:" + "a" * 64,
    published_port=10000,
    ceilings=Limits(250, 64 * MIB, 32, 100 * MIB),
    env=(("COLOUR", "red"), ("PORT", "1")),
)
PROGRAM = Program(("/bin/app",), (("COLOUR", "blue"), ("LANG", "C")), "/srv", 1000, 1000)
LAUNCH = Launch("/stage/rootfs", "/stage/volume", "/scope/ins", "/fd/20", "/fd/21")


def config(
    spec: InstanceSpec = SPEC, program: Program = PROGRAM, launch: Launch = LAUNCH
) -> dict[str, Any]:
    text = render(oci_config(spec, program, launch, HostFeatures(swap_accounting=True)))
    found: dict[str, Any] = json.loads(text)
    return found


def test_every_namespace_is_its_own_and_the_prepared_two_are_joined() -> None:
    found = {one["type"]: one.get("path") for one in config()["linux"]["namespaces"]}
    assert found == {
        "user": "/fd/20",
        "network": "/fd/21",
        "pid": None,
        "ipc": None,
        "uts": None,
        "mount": None,
        "cgroup": None,
    }


def test_an_unprivileged_program_gets_no_capability_at_all() -> None:
    process = config()["process"]
    kinds = {"bounding", "effective", "inheritable", "permitted", "ambient"}
    assert process["capabilities"].keys() == kinds
    assert not any(process["capabilities"].values())
    assert process["noNewPrivileges"] is True
    assert process["user"] == {"uid": 1000, "gid": 1000, "additionalGids": []}


def test_a_program_that_starts_as_root_gets_none_that_reaches_the_kernel() -> None:
    given = config(program=replace(PROGRAM, uid=0))["process"]["capabilities"]["bounding"]
    dangerous = {"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_MKNOD", "CAP_SYS_PTRACE"}
    assert given
    assert not dangerous & set(given)


def test_ceilings_become_kernel_amounts_and_swap_is_none() -> None:
    resources = config()["linux"]["resources"]
    assert resources["memory"] == {"limit": 64 * MIB, "swap": 64 * MIB}
    assert resources["cpu"] == {"shares": 256, "quota": 25_000, "period": 100_000}
    assert resources["pids"] == {"limit": 32}
    assert resources["devices"] == [{"allow": False, "access": "rwm"}]


def test_a_host_that_cannot_limit_swap_is_not_asked_to() -> None:
    found: dict[str, Any] = oci_config(SPEC, PROGRAM, LAUNCH, HostFeatures(swap_accounting=False))
    assert found["linux"]["resources"]["memory"] == {"limit": 64 * MIB}


def test_limits_keep_core_dumps_and_descriptors_small() -> None:
    process = config()["process"]
    limits = {one["type"]: one["hard"] for one in process["rlimits"]}
    assert limits == {
        "RLIMIT_NOFILE": 1024,
        "RLIMIT_CORE": 1,
        "RLIMIT_FSIZE": SPEC.ceilings.disk_bytes,
    }
    assert process["oomScoreAdj"] == 500


def test_the_spec_wins_over_the_image_and_nobody_over_the_port() -> None:
    found = dict(one.split("=", 1) for one in environment(SPEC, PROGRAM))
    assert (found["COLOUR"], found["LANG"], found["PORT"]) == ("red", "C", "8000")
    assert found["PATH"].startswith("/usr/local/sbin")


def test_without_a_volume_nothing_is_mounted_on_data() -> None:
    with_volume = {one["destination"] for one in config()["mounts"]}
    without = {one["destination"] for one in config(launch=replace(LAUNCH, volume=""))["mounts"]}
    assert with_volume - without == {"/data"}


def test_every_writable_mount_ignores_set_uid_programs_and_sys_is_read_only() -> None:
    for one in config()["mounts"]:
        assert "nosuid" in one["options"], one
    (sys,) = (one for one in config()["mounts"] if one["destination"] == "/sys")
    assert "ro" in sys["options"]


def test_the_compiled_profile_takes_the_place_of_its_text() -> None:
    plain = oci_config(SPEC, PROGRAM, LAUNCH, HostFeatures(swap_accounting=True))
    ready = json.loads(render(plain, b"\x01\x02"))
    assert ready["annotations"] == {"run.oci.seccomp_bpf_data": "AQI="}
    assert "seccomp" not in ready["linux"]
    assert "seccomp" in json.loads(render(plain))["linux"]


_ESCAPES = (
    "mount",
    "umount2",
    "pivot_root",
    "unshare",
    "setns",
    "clone3",
    "keyctl",
    "add_key",
    "request_key",
    "ptrace",
    "bpf",
    "userfaultfd",
    "perf_event_open",
    "open_by_handle_at",
    "init_module",
    "finit_module",
    "kexec_load",
    "reboot",
    "swapon",
    "acct",
    "process_vm_readv",
    "process_vm_writev",
    "io_uring_setup",
    "move_mount",
    "fsopen",
    "open_tree",
    "mount_setattr",
    "chroot",
    "syslog",
    "quotactl",
    "iopl",
    "ioperm",
    "pidfd_getfd",
)


class TestSeccomp:
    PROFILE = config()["linux"]["seccomp"]

    def allowed(self) -> set[str]:
        return {
            name
            for rule in self.PROFILE["syscalls"]
            if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
            for name in rule["names"]
        }

    def test_what_is_not_listed_does_not_exist(self) -> None:
        assert self.PROFILE["defaultAction"] == "SCMP_ACT_ERRNO"
        assert self.PROFILE["defaultErrnoRet"] == 38

    def test_only_the_native_architecture_is_let_in(self) -> None:
        assert "architectures" not in self.PROFILE

    @pytest.mark.parametrize(
        "name",
        _ESCAPES,
    )
    def test_a_call_that_escapes_are_made_of_is_refused(self, name: str) -> None:
        assert name not in self.allowed()

    def test_new_namespaces_by_clone_are_refused_and_threads_are_not(self) -> None:
        (rule,) = [one for one in self.PROFILE["syscalls"] if one["names"] == ["clone"]]
        (arg,) = rule["args"]
        assert (arg["op"], arg["valueTwo"]) == ("SCMP_CMP_MASKED_EQ", 0)
        new_mounts, six_others, what_threads_need = 0x00020000, 0x7E000000, 0x003D0F00
        assert arg["value"] & (new_mounts | six_others) == new_mounts | six_others
        assert arg["value"] & what_threads_need == 0

    def test_only_ordinary_socket_families_are_let_in(self) -> None:
        families = {
            rule["args"][0]["value"]
            for rule in self.PROFILE["syscalls"]
            if rule["names"] == ["socket"]
        }
        assert families == {1, 2, 10, 16}  # unix, inet, inet6, netlink: no packet, vsock, alg


class TestFirstId:
    HOST = HostConfig(
        "local", "stoa", Path("/nowhere"), IPv4Network("100.96.0.0/16"), range(10000, 32768)
    )

    def test_ranges_of_neighbouring_ports_touch_but_do_not_overlap(self) -> None:
        assert first_id(self.HOST, 10000) == 65536
        assert first_id(self.HOST, 10001) - first_id(self.HOST, 10000) == 65536

    def test_the_last_range_still_fits_into_32_bits(self) -> None:
        assert first_id(self.HOST, 32767) + 65536 < 2**32

    @pytest.mark.parametrize("port", [9999, 32768])
    def test_a_port_of_another_host_is_refused(self, port: int) -> None:
        with pytest.raises(SpecInvalidError, match="this host publishes 10000 to 32767"):
            first_id(self.HOST, port)
