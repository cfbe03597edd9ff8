"""Whether another value of a setting can be taken over: by this Stoa, while it runs, with its shops."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from installer.control import record
from installer.installation import Installation
from installer.progress import InstallError
from installer.refusals.machine import refuse_taken_port
from settings import common, edges, hosts, inner
from settings.setting import NEVER, WHILE_STOPPED, WITHOUT_SHOPS, Setting
from settings.table import KEPT

_PLACED = """SELECT h.name, count(*), min(p.port), max(p.port), h.first_port FROM tenants_placement p
    JOIN tenants_host h ON h.id = p.host_id WHERE p.until IS NULL GROUP BY h.name, h.first_port
    ORDER BY h.name"""


@dataclass(frozen=True, slots=True)
class HeldShops:
    """What a host holds. last and first: the ports of its shops; from_port: where its own range begins."""

    host: str
    shops: int
    first: int
    last: int
    from_port: int


def refuse_fixed(of: Installation) -> None:
    """InstallError for what this Stoa keeps for life, or cannot change while it runs. Asks nobody."""
    var, is_running = inner.VAR.name, of.is_running
    if (of.var / "postgres/ready").exists():
        for name, now, was, because in _changed(of, NEVER):
            raise InstallError(
                f"{name} is '{now}', and this Stoa was made with '{was}'; it keeps it for life, because"
                f" {because}",
                f"go on with {name}={was}, or make another Stoa: {var}=DIR {name}={now} bin/up",
            )
    if not is_running:
        return
    for name, now, was, because in _changed(of, WHILE_STOPPED):
        raise InstallError(
            f"{name} is '{now}', and this Stoa runs with '{was}'; it cannot change while it runs, because"
            f" {because}",
            f"go on with {name}={was}, or stop it first, with its shops: {name}={was} bin/down, then"
            f" {name}={now} bin/up",
        )
    for setting in (common.HTTP_PORT, edges.PROXY_PORT):
        port = setting.of(of.environ)
        if port is not None and _is_changed(of, setting):
            refuse_taken_port(port, setting.name)


def refuse_by_record(of: Installation) -> None:
    """InstallError when shops are bound to what would change. Needs PostgreSQL."""
    if not record.value(of.environ, "SELECT to_regclass('tenants_placement')"):
        return
    shops = record.value(of.environ, "SELECT count(*) FROM tenants_tenant WHERE state <> 'removed'")
    for name, now, was, because in _changed(of, WITHOUT_SHOPS):
        if int(shops or 0):
            raise InstallError(
                f"{name} is '{now}', and was '{was}'; it cannot change while there are shops ({shops}),"
                f" because {because}",
                f"go on with {name}={was}, or remove the shops first, or make another Stoa:"
                f" {inner.VAR.name}=DIR {name}={now} bin/up",
            )
    placed = [
        HeldShops(host, *map(int, numbers)) for host, *numbers in record.rows(of.environ, _PLACED)
    ]
    for held in placed:
        _refuse_lost_host(of, held)
    if _is_changed(of, hosts.PORTS):
        for held in placed:
            _refuse_ports(of, held)


def _refuse_lost_host(of: Installation, placed: HeldShops) -> None:
    host = placed.host
    if not re.fullmatch("host[2-9]", host) or not _is_further(of, host):
        return
    wanted, lab = hosts.HOSTS, hosts.LAB_SUBNET
    if int(host[4:]) > wanted.of(of.environ):
        raise InstallError(
            f"{wanted.name} is {wanted.text(of.environ)}, and was '{_was(of, wanted)}'; the host {host}"
            f" would end, and it holds {placed.shops} shops",
            f"empty it first, with the Stoa as it is: bin/stoa host drain {host}, then bin/up --hosts"
            f" {wanted.text(of.environ)}",
        )
    if _is_changed(of, lab):
        raise InstallError(
            f"{lab.name} is '{lab.text(of.environ)}', and was '{_was(of, lab)}'; the host {host} holds"
            f" {placed.shops} shops at addresses there",
            f"go on with {lab.name}={_was(of, lab)}, or empty it first: bin/stoa host drain {host}",
        )


def _refuse_ports(of: Installation, placed: HeldShops) -> None:
    """A container's address counts from the first port of its host: shops keep theirs where that stays."""
    ports = hosts.PORTS.of(of.environ)
    first, last = ports.start, ports.stop - 1
    if placed.from_port == first and placed.last <= last:
        return
    # A host of another machine has a range of its own, and edges must reach all of it.
    is_here = placed.host == hosts.HOST_NAME.of(of.environ) or _is_further(of, placed.host)
    if not is_here and placed.first >= first and placed.last <= last:
        return
    name = hosts.PORTS.name
    raise InstallError(
        f"{name} is '{hosts.PORTS.text(of.environ)}', and was '{_was(of, hosts.PORTS)}'; the host"
        f" {placed.host} holds {placed.shops} shops at ports {placed.first} to {placed.last}, and their"
        f" addresses count from {placed.from_port}",
        f"keep the first port and those that are taken: {name}={placed.from_port}-"
        f"{max(last, placed.last)}; or empty the host first: bin/stoa host drain {placed.host}",
    )


def _is_further(of: Installation, host: str) -> bool:
    return (of.var / "hosts" / host / "settings").is_file()


def _changed(of: Installation, when: str) -> Iterator[tuple[str, str, str, str]]:
    """Name, new value, old value and reason of each changed setting that may change only then."""
    for setting in KEPT:
        if setting.change.when == when and _is_changed(of, setting):
            now, was = of.text(setting), _was(of, setting)
            yield setting.name, now, was, setting.change.because


def _is_changed(of: Installation, setting: Setting[Any]) -> bool:
    return setting.name in of.site.saved and _was(of, setting) != of.text(setting)


def _was(of: Installation, setting: Setting[Any]) -> str:
    return of.site.saved.get(setting.name, "")
