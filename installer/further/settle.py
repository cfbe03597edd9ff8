"""Brings further hosts to what this Stoa is now: each is in the record before its agent needs its secrets."""

import hashlib

from installer import secret_files
from installer.commands import logged
from installer.control import images
from installer.further import host, network
from installer.installation import Installation
from installer.machine import store
from installer.progress import InstallError
from installer.supervising.supervisor import SupervisorError
from settings import hosts, inner
from settings.site import further_host

# What a host's programs are made from, beside its own settings: what the first host's are.
_MADE = ("host-agent", "keeper", "images")


def settle(of: Installation) -> None:
    """Make, bring up to date and start the further hosts that are wanted."""
    names = network.wanted(of)
    new = [name for name in names if _made(of, name) != _mark(of, name)]
    if new:
        of.say("giving the further hosts their images and places in the record")
        host.each(_import_images, of, new)
        for name in new:
            of.attempt(f"writing host {name}", _bootstrap(of, name))
        host.each(_renew, of, new)
    host.each(host.start, of, names)
    for name in new:
        (of.var / "hosts" / name / "run/made").write_text(_mark(of, name))


def end_unwanted(of: Installation) -> None:
    """End those that are no longer wanted; the record has been asked whether they hold anything."""
    for name in network.known(of):
        if name in network.wanted(of):
            continue
        of.say(f"ending the further host {name} (its record stays: bin/stoa host remove {name})")
        host.stop(of, name)
        host.clean(of, name)
        network.unplug(of, name)


def _made(of: Installation, name: str) -> str:
    return secret_files.read(of.var / "hosts" / name / "run/made")


def _mark(of: Installation, name: str) -> str:
    parts = [secret_files.read(of.var / "run/made" / made) for made in _MADE]
    parts.append(secret_files.read(of.var / "hosts" / name / "settings"))
    parts += [
        setting.text(of.environ) for setting in (hosts.LAB_CPU_MILLIS, hosts.LAB_MEMORY_BYTES)
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _import_images(of: Installation, name: str) -> None:
    host.store(of, name)
    for image in images.built(of):
        log = of.var / "hosts" / name / "logs/import"
        if logged(images.importing(of, image, name), log, env=of.environ):
            raise InstallError(
                f"{name} could not take the image {image.name}", f"the whole output: {log}"
            )


def _bootstrap(of: Installation, name: str) -> list[str]:
    settings = further_host(of.var, name)
    words = {
        "--host-name": name,
        "--host-address": inner.HOST_ADDRESS.text(settings),
        "--host-ports": hosts.PORTS.text(settings),
        "--host-cpu-millis": hosts.LAB_CPU_MILLIS.text(of.environ),
        "--host-memory-bytes": hosts.LAB_MEMORY_BYTES.text(of.environ),
        **store.size_option(inner.HOST_STATE.of(settings)),
    }
    flat = [word for pair in words.items() for word in pair]
    return of.enter("manage.py", "bootstrap", *flat)


def _renew(of: Installation, name: str) -> None:
    """One that runs takes new code and settings up as the first host does: its shops go on."""
    found = host.supervisor(of, name)
    if not found.pid():
        return
    host.limit(of, name)
    host.write_conf(of, name)
    log = of.var / "hosts" / name / "logs/upgrade"
    upgrade = of.enter("python", "-m", "runtime", "keeper-upgrade", role="plain", host=name)
    try:
        if logged(upgrade, log, env=of.environ):
            of.say(
                f"the keeper of {name} could not change in place: restarting it, and its shops with it"
            )
            found.ask("renew", "keeper")
        found.ask("renew", "host-agent")
    except SupervisorError as error:
        of.say.note(f"{name}: {error}")
