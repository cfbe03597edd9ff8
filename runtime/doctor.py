"""Is this host fit to run containers? Each finding says what was found and, where not, what to do."""

import ctypes
import json as json_format
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from runtime import network, probes
from runtime.bundle import instance_ids
from runtime.cgroup import Cgroups, Layout, layout_in
from runtime.cgroup.layout import Version
from runtime.config import HostConfig
from runtime.disk import loop
from runtime.disk.quota import is_btrfs, is_inconsistent
from runtime.errors import CommandFailedError, HostUnfitError
from runtime.network.firewalls import foreign_blocks, foreign_networks, routes_of_machine
from runtime.system.commands import run
from runtime.units import GIB, bytes_text

_CRUN_AT_LEAST = (1, 8)
_KERNEL_AT_LEAST = (5, 12)
_FILES_AT_LEAST = 4096
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_SETUID": 7, "CAP_MKNOD": 27}
_CLOCK_UNSYNCHRONISED = 5
_TIMEX_BYTES = 512
# A busy shop has some dozens open, and each stays in the table for seconds after its end.
_CONNECTIONS_EACH = 256
_CONNTRACK = Path("/proc/sys/net/netfilter")


class CheckState(StrEnum):
    """How bad it is: warn lets containers run, fail does not."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was found, and what to do about it ("" when all is well)."""

    name: str
    state: CheckState
    found: str
    remedy: str = ""


def check(config: HostConfig) -> tuple[Finding, ...]:
    """Look at everything containers need of this host. Changes nothing that outlives the call."""
    return tuple(finding for part in _PARTS for finding in part(config))


def main(config: HostConfig, *, json: bool) -> int:
    """Print the findings, as a table or as JSON lines; 1 when one of them is a fail."""
    findings = check(config)
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        if json:
            line = json_format.dumps(asdict(finding), ensure_ascii=False)
        else:
            line = f"{finding.state:<4}  {finding.name:<{width}}  {finding.found}"
            if finding.remedy:
                line += f"\n      {'':<{width}}  → {finding.remedy}"
        sys.stdout.write(f"{line}\n")
    return 1 if any(finding.state is CheckState.FAIL for finding in findings) else 0


def _privileges(config: HostConfig) -> Iterator[Finding]:
    effective = int(_status_field("CapEff"), 16)
    missing = [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]
    if os.geteuid() != 0 or missing:
        lacks = ", ".join(missing) or "being root"
        yield _fail("privileges", f"lacks {lacks}", "run the agent and the doctor as root")
    else:
        yield _ok("privileges", "root with the capabilities containers need")


def _kernel(config: HostConfig) -> Iterator[Finding]:
    release = os.uname().release
    if version_in(release) < _KERNEL_AT_LEAST:
        yield _fail("kernel", release, "install Linux 5.12 or later (idmapped mounts)")
    else:
        yield _ok("kernel", release)
    yield _tried("user namespace", probes.user_namespace(), "set user.max_user_namespaces above 0")
    config.state_dir.mkdir(parents=True, exist_ok=True)
    yield _tried(
        "overlay on an idmapped image",
        probes.layered_rootfs(config.state_dir),
        f"put {config.state_dir} on ext4, xfs or btrfs, and load the overlay module",
    )
    yield _tried(
        "veth, bridge and tbf", probes.interfaces(), "load the modules veth, bridge and sch_tbf"
    )
    yield _tried(
        "nftables rules",
        probes.packet_filter(config),
        "install nftables and load nf_tables, nft_fib_inet, nft_reject_inet",
    )
    if Path("/proc/sys/kernel/seccomp/actions_avail").exists():
        yield _ok("seccomp", "filters are available")
    else:
        yield _fail("seccomp", "no filters", "use a kernel with CONFIG_SECCOMP_FILTER")


def _cgroups(config: HostConfig) -> Iterator[Finding]:
    try:
        layout = layout_in(Path("/proc/self/mounts").read_text())
    except HostUnfitError as error:
        yield _fail("cgroups", error.message, "mount cgroup version 2 on /sys/fs/cgroup")
        return
    yield cgroup_finding(layout, _offered_v2(layout))
    if layout.unified:
        yield _ok("cgroups hybrid", f"{layout.unified} is hidden from crun at each start")


def cgroup_finding(layout: Layout, offered: str) -> Finding:
    """Return whether every controller is there; offered: the text of cgroup.controllers on version 2."""
    if layout.version is Version.V1:
        return _ok("cgroups", "version 1 with cpu, cpuacct, freezer, memory and pids")
    missing = [name for name in layout.roots if name not in offered.split()]
    if missing:
        return _fail(
            "cgroups",
            f"version 2 without {', '.join(missing)}",
            f"boot with cgroup_enable={missing[0]}, or delegate it to this service",
        )
    return _ok("cgroups", "version 2 with cpu, memory and pids")


def _programs(config: HostConfig) -> Iterator[Finding]:
    try:
        yield crun_finding(run("crun", "--version", timeout=5).output)
    except CommandFailedError as error:
        yield _fail("crun", error.message, "apt-get install crun")
    try:
        yield _ok("nft", run("nft", "--version", timeout=5).output.strip())
    except CommandFailedError as error:
        yield _fail("nft", error.message, "apt-get install nftables")
    for name, judge in (
        ("zstd", _fail),  # without it no shop's data leaves the host
        ("skopeo", _warn),  # hosts that are given their images need none
    ):
        try:
            yield _ok(name, run(name, "--version", timeout=5).output.strip())
        except CommandFailedError as error:
            yield judge(name, error.message, f"apt-get install {name}")


def crun_finding(said: str) -> Finding:
    """Return whether a crun that says this of itself will do."""
    first = said.partition("\n")[0].strip()
    if version_in(first) < _CRUN_AT_LEAST:
        return _fail("crun", first or "says nothing", "install crun 1.8 or later")
    if "+SECCOMP" not in said:
        return _fail("crun", f"{first} without seccomp", "install a crun built with seccomp")
    return _ok("crun", first)


def _limits(config: HostConfig) -> Iterator[Finding]:
    _soft, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= files < _FILES_AT_LEAST:
        yield _fail(
            "open files",
            f"hard limit {files}",
            f"raise the hard limit of nofile to {_FILES_AT_LEAST}",
        )
    else:
        yield _ok("open files", f"hard limit {files if files >= 0 else 'none'}")
    yield _number("processes", "/proc/sys/kernel/pid_max", 65536, "set kernel.pid_max to 4194304")
    yield _number(
        "user namespaces",
        "/proc/sys/user/max_user_namespaces",
        4096,
        "set user.max_user_namespaces to 100000",
    )
    yield _number(
        "network namespaces",
        "/proc/sys/user/max_net_namespaces",
        4096,
        "set user.max_net_namespaces to 100000",
    )


def _firewall(config: HostConfig) -> Iterator[Finding]:
    try:
        yield firewall_finding(config, foreign_blocks(config))
    except (CommandFailedError, ValueError) as error:
        yield _warn("other firewalls", f"cannot be read: {error}", "look at: nft list ruleset")


def firewall_finding(config: HostConfig, closed: list[str]) -> Finding:
    """Return a finding about other programs' chains that drop unknown packets."""
    if not closed:
        return _ok("other firewalls", "none drops forwarded packets")
    prefix = config.interface_prefix
    return _warn(
        "other firewalls",
        f"everything unknown is dropped in {', '.join(closed)}: tenants do not reach the internet,"
        " edges on other machines do not reach tenants",
        f"accept interfaces {prefix}* there, with Docker: iptables -I DOCKER-USER -i {prefix}+ -j ACCEPT"
        f" and iptables -I DOCKER-USER -o {prefix}+ -j ACCEPT",
    )


def _network(config: HostConfig) -> Iterator[Finding]:
    if resolver := network.resolver(config):
        yield _ok("names", f"tenants' questions go to {resolver}")
    else:
        yield _warn(
            "names",
            "tenants cannot look up names: /etc/resolv.conf has no name server but on loopback",
            f"set STOA_RESOLVER to a name server's address, or let this host's listen on"
            f" {config.address} and set STOA_RESOLVER={config.address}",
        )
    try:
        used, most = (
            int((_CONNTRACK / name).read_text())
            for name in ("nf_conntrack_count", "nf_conntrack_max")
        )
    except FileNotFoundError:
        return  # counted from the first rule on that looks at connections
    yield connections_finding(used, most, instances=len(instance_ids(config.state_dir)))


def connections_finding(used: int, most: int, *, instances: int) -> Finding:
    """Return whether the table of connections, which all tenants share, is large enough for this many."""
    name, needed = "tracked connections", max(65536, _CONNECTIONS_EACH * instances)
    text = f"{used} of at most {most} for {instances} instances"
    if most < needed:
        return _warn(name, text, f"set net.netfilter.nf_conntrack_max to {needed} or more")
    if used > most * 0.8:
        return _warn(
            name, text, f"set net.netfilter.nf_conntrack_max to {2 * most}, or give tenants fewer"
        )
    return _ok(name, text)


def _disk(config: HostConfig) -> Iterator[Finding]:
    found = os.statvfs(config.state_dir)
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    text = f"{bytes_text(free)} of {bytes_text(total)} free for {config.state_dir}"
    remedy = "make room, or set STOA_HOST_STATE to a larger file system"
    if free < GIB:
        yield _fail("disk", text, remedy)
    elif free < total * 0.1:
        yield _warn("disk", text, remedy)
    else:
        yield _ok("disk", text)
    inodes = found.f_favail
    if found.f_files and inodes < 100_000:
        yield _warn("inodes", f"{inodes} left", remedy)


def _ceilings(config: HostConfig) -> Iterator[Finding]:
    try:
        loop.check_mounted(config.state_dir)
    except HostUnfitError as error:
        yield _fail("disk limits", error.message, "run: python -m runtime store up")
        return
    store = loop.current(config.state_dir)
    if not store.is_enforced:
        remedy = (
            "bin/up with STOA_STORE_BYTES=20G makes a btrfs in a file; or put STOA_HOST_STATE on"
        )
        remedy += " btrfs with quotas, or on XFS or ext4 mounted with prjquota"
        if is_btrfs(store.place):
            remedy = f"run: btrfs quota enable {store.place}; or {remedy}"
        yield _warn("disk limits", "measured only: a tenant can fill the disk", remedy)
    elif is_inconsistent(store.place):
        yield _warn(
            "disk limits",
            f"{store.place} has lost count of who uses what",
            f"run: btrfs quota rescan {store.place}",
        )
    else:
        free = f"{bytes_text(store.free_bytes)} of {bytes_text(store.total_bytes)} free"
        yield _ok("disk limits", f"enforced by {store.kind} on {store.place}, {free}")


def _neighbours(config: HostConfig) -> Iterator[Finding]:
    try:
        cgroups = set(Cgroups.detect(config).instances())
    except HostUnfitError:
        return  # said above
    ports = set(network.published(config))
    known = set(instance_ids(config.state_dir))
    strangers = sorted(cgroups - known)
    if strangers or (ports and not known):
        what = ", ".join(strangers[:3]) or f"published ports {sorted(ports)[:3]}"
        yield _fail(
            "scope",
            f"{config.scope}/{config.name} already runs what {config.state_dir} does not know: {what}",
            "another Stoa uses this scope: set STOA_SCOPE; or bin/down what an older one left",
        )
    else:
        yield _ok("scope", f"{config.scope}/{config.name} is this one's own")
    try:
        routes = routes_of_machine()
    except (CommandFailedError, ValueError) as error:
        yield _warn("subnet", f"routes cannot be read: {error}", "install iproute2")
        return
    yield subnet_finding(config, routes)


def subnet_finding(config: HostConfig, routes: list[dict[str, str]]) -> Finding:
    """Return whether containers' addresses are routed to somebody else already."""
    prefix = config.interface_prefix
    for foreign, device in foreign_networks(routes, is_ours=lambda name: name.startswith(prefix)):
        if foreign.overlaps(config.subnet):
            return _fail(
                "subnet",
                f"{config.subnet} overlaps {foreign} on {device}",
                "set STOA_SUBNET to a network that is not used here",
            )
    return _ok("subnet", f"{config.subnet} is free")


def _clock(config: HostConfig) -> Iterator[Finding]:
    # adjtimex with modes 0 only asks; the answer 5 means that nothing keeps the clock right.
    answer = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    if answer == _CLOCK_UNSYNCHRONISED:
        yield _warn(
            "clock", "not synchronised", "install chrony, or let the hypervisor set the clock"
        )
    else:
        yield _ok("clock", "synchronised")


_PARTS: tuple[Callable[[HostConfig], Iterator[Finding]], ...] = (
    _privileges,
    _kernel,
    _cgroups,
    _programs,
    _limits,
    _firewall,
    _network,
    _disk,
    _ceilings,
    _neighbours,
    _clock,
)


def version_in(text: str) -> tuple[int, int]:
    """Return the first `number.number` of a text, (0, 0) when there is none."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _tried(name: str, problem: str, remedy: str) -> Finding:
    return _fail(name, problem, remedy) if problem else _ok(name, "tried, works")


def _number(name: str, path: str, at_least: int, remedy: str) -> Finding:
    try:
        found = int(Path(path).read_text())
    except FileNotFoundError:
        return _ok(name, "no limit in this kernel")
    if found < at_least:
        return _warn(name, f"{path} is {found}", remedy)
    return _ok(name, str(found))


def _offered_v2(layout: Layout) -> str:
    if layout.version is Version.V1:
        return ""
    return (layout.hierarchies[0] / "cgroup.controllers").read_text()


def _status_field(name: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return "0"


def _ok(name: str, found: str) -> Finding:
    return Finding(name, CheckState.OK, found)


def _warn(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, CheckState.WARN, found, remedy)


def _fail(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, CheckState.FAIL, found, remedy)
