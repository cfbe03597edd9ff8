"""Which Stoa of this machine has which scope and networks. Two with one would take each other's shops."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from installer.progress import InstallError
from installer.supervising.supervisor import is_supervised
from settings import common, hosts, inner
from settings.site import Site

_CLAIMS = Path("/run/stoa-scopes")


@dataclass(frozen=True, slots=True)
class _Claim:
    scope: str
    owner: Path
    subnet: str
    lab: str


def refuse_taken(site: Site) -> None:
    """InstallError when another Stoa that runs has the scope or a network of this one."""
    own = _own(site)
    for claim in _claims():
        if claim.owner == site.var or not is_supervised(claim.owner):
            continue
        if claim.scope == own.scope:
            raise InstallError(
                f"another Stoa on this machine has the scope '{own.scope}': the one in {claim.owner}",
                f"stop that one (STOA_VAR={claim.owner} bin/down), or give this one a scope, a network and"
                " ports:",
                f"{common.SCOPE.name}=second {hosts.SUBNET.name}=100.97.0.0/16"
                f" {common.HTTP_PORT.name}=8081 {common.PORT_BASE.name}=18900 bin/up",
            )
        if own.lab and claim.lab == own.lab:
            raise InstallError(
                f"another Stoa on this machine has the further hosts' network {own.lab}: the one in"
                f" {claim.owner}",
                f"give this one another, for example {hosts.LAB_SUBNET.name}=198.18.32.0/19",
            )
        if claim.subnet == own.subnet:
            raise InstallError(
                f"another Stoa on this machine has the network {own.subnet}: the one in {claim.owner}",
                f"give this one another, for example {hosts.SUBNET.name}=100.97.0.0/16",
            )


def claim(site: Site) -> None:
    """From here on the scope and the networks are this Stoa's, as long as it runs."""
    short = inner.SHORT.of(site.variables)
    if short != site.var:
        short.unlink(missing_ok=True)
        short.symlink_to(site.var)
    own = _own(site)
    _CLAIMS.mkdir(mode=0o755, exist_ok=True)
    (_CLAIMS / own.scope).write_text(f"{own.owner} {own.subnet} {own.lab}\n")


def release(site: Site) -> None:
    """Give the scope back; no-op when it is another Stoa's."""
    file = _CLAIMS / common.SCOPE.of(site.variables)
    if any(claim.owner == site.var for claim in _claims() if claim.scope == file.name):
        file.unlink(missing_ok=True)
    with suppress(OSError):
        _CLAIMS.rmdir()
    short = inner.SHORT.of(site.variables)
    if short != site.var:
        short.unlink(missing_ok=True)


def is_ours(site: Site) -> bool:
    """Return whether no other Stoa that runs has this one's scope: its containers are not ours to end."""
    scope = common.SCOPE.of(site.variables)
    owners = (claim.owner for claim in _claims() if claim.scope == scope)
    return not any(owner != site.var and is_supervised(owner) for owner in owners)


def _own(site: Site) -> _Claim:
    """Return what this Stoa claims; lab is "" without further hosts."""
    named = (common.SCOPE, hosts.SUBNET, hosts.LAB_SUBNET)
    scope, subnet, lab = (setting.text(site.variables) for setting in named)
    return _Claim(scope, site.var, subnet, lab if hosts.HOSTS.of(site.variables) > 1 else "")


def _claims() -> Iterator[_Claim]:
    for file in sorted(_CLAIMS.glob("*")):
        with suppress(OSError):
            words = [*file.read_text().split(), "", ""]
            if words[0]:
                yield _Claim(file.name, Path(words[0]), words[1], words[2])
