"""`stoa host join|leave|start`: runs on the machine itself, as root."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli import output
from controlplane.cli.errors import USAGE, CliError
from controlplane.cli.options import Yes
from installer.progress import Steps
from runtime.units import bytes_text, cores_text
from settings import common, hosts, inner
from settings.kinds import bytes_of

Var = Annotated[str, typer.Option(help="where this host keeps everything")]
_VAR = "/var/lib/stoa"


def join(
    url: Annotated[str, typer.Argument(help="as `stoa host token create` printed it: https://…")],
    token: Annotated[
        str, typer.Option(help="the join token; - for stdin. STOA_JOIN_TOKEN does as well")
    ] = "",
    token_file: Annotated[str, typer.Option(help="a file that holds it")] = "",
    name: Annotated[str, typer.Option(help="in the pool; this machine's own without it")] = "",
    address: Annotated[
        str, typer.Option(help="at which edges reach this machine; found automatically")
    ] = "",
    ports: Annotated[str, typer.Option(help="published ports")] = hosts.PORTS.fixed_default,
    probe_port: Annotated[
        int, typer.Option(help="where edges probe this machine; must differ from another host's")
    ] = hosts.PROBE_PORT.of({}),
    subnet: Annotated[
        str, typer.Option(help="containers' own network")
    ] = hosts.SUBNET.fixed_default,
    scope: Annotated[
        str, typer.Option(help="keeps two hosts on one machine apart, with another --var")
    ] = common.SCOPE.fixed_default,
    var: Var = _VAR,
    resolver: Annotated[str, typer.Option(help="name server for containers")] = "",
    store_bytes: Annotated[
        str, typer.Option(help="store of shops' data: 20G; 0 for none; half the disk without it")
    ] = "",
    cpu_millis: Annotated[int | None, typer.Option(min=1, help="offered; measured without")] = None,
    memory_bytes: Annotated[
        int | None, typer.Option(min=1, help="offered; measured without")
    ] = None,
    disk_bytes: Annotated[int | None, typer.Option(min=1, help="offered; measured without")] = None,
    reserve_cpu_millis: Annotated[int | None, typer.Option(min=0, help="kept back")] = None,
    reserve_memory_bytes: Annotated[int | None, typer.Option(min=0, help="kept back")] = None,
    reserve_disk_bytes: Annotated[int | None, typer.Option(min=0, help="kept back")] = None,
) -> None:
    """Make this machine a host of the pool. Run it again if it was interrupted: it continues.

    The machine checks the control plane's CA against the token before it sends anything. It is checked
    (doctor) before the token is used up; if it is refused, you see all reasons at once.
    """
    from controlplane.joining.host_paths import HostPaths
    from controlplane.joining.join import Options
    from controlplane.joining.join import join as run
    from controlplane.joining.trust import parse

    options = Options(
        place=HostPaths(_absolute(var)),
        name=name,
        scope=scope,
        subnet=subnet,
        ports=ports,
        address=address,
        probe_port=probe_port,
        resolver=resolver,
        store_bytes=_size(store_bytes),
        room={
            "cpu_millis": cpu_millis,
            "memory_bytes": memory_bytes,
            "disk_bytes": disk_bytes,
            "reserve_cpu_millis": reserve_cpu_millis,
            "reserve_memory_bytes": reserve_memory_bytes,
            "reserve_disk_bytes": reserve_disk_bytes,
        },
    )
    seen = run(url, parse(_token(token, token_file)), options, say=Steps(sys.stderr))
    cpu, memory, disk = seen["cpu_millis"], seen["memory_bytes"], seen["disk_bytes"]
    typer.echo(f"{seen['name']} is a host of the pool, in zone {seen['zone']}. It offers")
    output.facts(
        [
            ("  processor", f"{cores_text(cpu['capacity'] - cpu['reserve'])} cores"),
            ("  memory", bytes_text(memory["capacity"] - memory["reserve"])),
            ("  disk", bytes_text(disk["capacity"] - disk["reserve"])),
            ("  published at", f"{seen['address']}:{seen['ports'][0]}-{seen['ports'][1]}"),
        ]
    )


def leave(
    var: Var = _VAR,
    purge: Annotated[bool, typer.Option(help="also delete images and shops' data")] = False,
    anyway: Annotated[
        bool, typer.Option(help="also when the control plane does not answer or refuses")
    ] = False,
    yes: Yes = False,
) -> None:
    """Undo a join: leave the pool and stop everything. Refused while shops are placed here."""
    from controlplane.joining.host_paths import HostPaths
    from controlplane.joining.leave import leave as run

    place = HostPaths(_absolute(var))
    name = place.settings().get(hosts.HOST_NAME.name, "")
    if name and (purge or anyway):
        loss = "deletes all shops' data on it" if purge else "stops whatever shops run on it"
        output.confirm(name, f"this takes {name} out of the pool and {loss}", yes=yes)
    name = run(place, say=Steps(sys.stderr), purge=purge, anyway=anyway)
    typer.echo(f"{name} has left the pool" + ("" if purge else f"; its data are in {place.state}"))


def start(var: Var = _VAR) -> None:
    """Start keeper and agent again: after a reboot without systemd, or after an update (git pull).

    Shops keep running: a running keeper takes the new code over in place.
    """
    from controlplane.joining.host_paths import HostPaths
    from controlplane.joining.programs import Programs

    place = HostPaths(_absolute(var))
    settings = place.settings()
    if not settings:
        raise CliError(f"there is no joined host in {var}", code=3)
    typer.echo(f"they run under {Programs(place, common.SCOPE.of(settings)).renew()}")


def _token(given: str, file: str) -> str:
    from controlplane.cli.secrets import read_secret

    if given and given != "-":
        return given
    if not given and not file and (found := inner.JOIN_TOKEN.of(os.environ)):
        return found
    return read_secret("join token", file or given)


def _absolute(text: str) -> Path:
    return Path(text).absolute()


def _size(text: str) -> int | None:
    try:
        return bytes_of(text) if text else None
    except ValueError as error:
        raise CliError(f"--store-bytes: {error}", code=USAGE) from error
