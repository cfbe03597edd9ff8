"""Whether settings fit each other. The program that reads a setting makes its check."""

from collections.abc import Mapping
from typing import Any

from settings import common, edges, hosts, inner
from settings.setting import Setting, SettingError

_Environ = Mapping[str, str]
_PORTS_ABOVE_BASE = range(1, 7)
# The keeper's own address and the gateway's lie below the first container's.
_KEPT_ADDRESSES = 256


def host(environ: _Environ) -> None:
    """Raise SettingError for what a host cannot be."""
    _probe_port_is_free(environ)
    cpu, memory = inner.SLICE_CPU_MILLIS, inner.SLICE_MEMORY_BYTES
    if bool(cpu.of(environ)) != bool(memory.of(environ)):
        missing = memory if cpu.of(environ) else cpu
        raise _error(
            missing, environ, "must be set too: a part of a machine has processor time and memory"
        )


def disks(environ: _Environ) -> None:
    """Raise SettingError where a disk would be full before it is low."""
    full = hosts.DISK_FULL_PERCENT
    if full.of(environ) < (low := hosts.DISK_LOW_PERCENT.of(environ)):
        raise _error(full, environ, f"must not be below STOA_DISK_LOW_PERCENT ({low})")


def edge(environ: _Environ) -> None:
    """Raise SettingError for what an edge cannot be."""
    port = edges.PROXY_PORT
    if port.of(environ) is None:
        return
    if not edges.PROXIES.of(environ):
        raise _error(
            edges.PROXIES, environ, f"must name who may speak at {port.name} ({port.text(environ)})"
        )
    if port.of(environ) == common.HTTP_PORT.of(environ):
        raise _error(port, environ, "must be another port than that of STOA_HTTP_PORT")


def site(environ: _Environ) -> None:
    """Raise SettingError for what a Stoa of bin/up cannot be."""
    host(environ)
    disks(environ)
    if edges.PROXY_PORT.of(environ) and not edges.PROXIES.of(environ):
        edge(environ)
    _each_port_has_one_use(environ)
    _addresses_are_enough(environ)
    _networks_lie_apart(environ)


def _error(setting: Setting[Any], environ: _Environ, what: str, *remedies: str) -> SettingError:
    text = setting.text(environ)
    shown = (text if text.isdecimal() else repr(text)) if text else "not set"
    return SettingError(
        f"{setting.name} is {shown}; it {what}",
        *remedies,
        name=setting.name,
    )


def _probe_port_is_free(environ: _Environ) -> None:
    """The keeper answers probes at the address that shops are published at."""
    probe, ports = hosts.PROBE_PORT.of(environ), hosts.PORTS.of(environ)
    if probe in ports:
        raise SettingError(
            f"{hosts.PROBE_PORT.name} is {probe}, which lies inside {hosts.PORTS.name}"
            f" ({hosts.PORTS.text(environ)}), where shops are published",
            f"choose a port outside: {hosts.PROBE_PORT.name}={min(ports.start - 1, 9797)}",
            name=hosts.PROBE_PORT.name,
        )


def _each_port_has_one_use(environ: _Environ) -> None:
    """Those above STOA_PORT_BASE may lie inside STOA_PORTS: shops are published at another address."""
    base = common.PORT_BASE.of(environ)
    used = {
        base + offset: f"one of the six ports above STOA_PORT_BASE ({base})"
        for offset in _PORTS_ABOVE_BASE
    }
    for setting in (common.HTTP_PORT, edges.PROXY_PORT, hosts.PROBE_PORT):
        port = setting.of(environ)
        if port is None:
            continue
        if port in used:
            taken = {*used, *hosts.PORTS.of(environ)} if setting is hosts.PROBE_PORT else set(used)
            free = next(
                candidate
                for candidate in (*range(port, 65536), *range(1024, port))
                if candidate not in taken
            )
            raise SettingError(
                f"{setting.name} is {port}, {used[port]}",
                f"choose another: {setting.name}={free}",
                name=setting.name,
            )
        used[port] = f"which is the port of {setting.name} too"


def _addresses_are_enough(environ: _Environ) -> None:
    network, ports = hosts.SUBNET.of(environ), hosts.PORTS.of(environ)
    most = network.num_addresses - _KEPT_ADDRESSES - 1
    if most < len(ports):
        raise SettingError(
            f"{hosts.SUBNET.name} is '{network}' and {hosts.PORTS.name}"
            f" '{hosts.PORTS.text(environ)}': {len(ports)} ports need as many addresses and"
            f" {_KEPT_ADDRESSES} more",
            "give a network of size /16, or fewer ports:"
            f" {hosts.PORTS.name}={ports.start}-{ports.start + max(most, 1) - 1}",
            name=hosts.SUBNET.name,
        )


def _networks_lie_apart(environ: _Environ) -> None:
    network, pool = hosts.SUBNET.of(environ), common.POOL_ADDRESS.of(environ)
    further = hosts.LAB_SUBNET.of(environ)
    if hosts.HOSTS.of(environ) > 1 and network.overlaps(further):
        raise SettingError(
            f"{hosts.SUBNET.name} ({network}) and {hosts.LAB_SUBNET.name} ({further}) have"
            " addresses in common",
            f"give the further hosts another network, for example {hosts.LAB_SUBNET.name}=198.18.0.0/19",
            name=hosts.LAB_SUBNET.name,
        )
    if pool is not None and pool in network:
        raise SettingError(
            f"{common.POOL_ADDRESS.name} ({pool}) lies inside {hosts.SUBNET.name} ({network}), where"
            " containers are",
            f"give the address of an interface, or other containers' addresses: {hosts.SUBNET.name}",
            name=common.POOL_ADDRESS.name,
        )
