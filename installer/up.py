"""Starts Stoa on this machine, or finds it running: bin/up [--demo] [--hosts N]

On a bare Debian 12 or Ubuntu machine, as root, it installs what is missing (apt, pip). It makes
secrets, a PostgreSQL and a Redis of its own under var/, and builds the images. Then it starts everything
under one supervisor. It returns 0 only when a sign-up would succeed. Run it again at any time.

  --demo    sign up a demo shop through the public API and show the title of its page
  --hosts N  be N hosts: this machine and N-1 network namespaces of it, each with a keeper and an agent
  --help    this text

Settings are variables, kept in $STOA_VAR/settings for the next time. The first of them:

{settings}
docs/settings.md has them all, and says which of them may change when.
"""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from installer import down
from installer.control import credentials, ready, start, update
from installer.further import network, settle
from installer.installation import PROGRAMS, Installation, is_unlocked
from installer.machine import processes, scopes
from installer.machine.prepare import prepare
from installer.progress import InstallError, Steps
from installer.refusals import changes, machine
from settings import document, hosts, inner
from settings.setting import WITHOUT_SHOPS
from settings.site import load
from settings.table import KEPT

_LEFT_SECONDS = 30.0
# What the refusals by the record are about: bin/down takes their values of before.
_ASKED = {setting.name for setting in KEPT if setting.change.when == WITHOUT_SHOPS} | {
    setting.name for setting in (hosts.PORTS, hosts.HOSTS, hosts.LAB_SUBNET)
}


def main(argv: list[str]) -> int:
    """Do what bin/up does. Raises InstallError and SettingError."""
    words, demo = [*argv], False
    while words:
        word = words.pop(0)
        if word in {"-h", "--help"}:
            print(__doc__.replace("{settings}", document.short()).strip())
            return 0
        if word == "--demo":
            demo = True
        elif word.partition("=")[0] == "--hosts":
            number = word.partition("=")[2] or (words.pop(0) if words else "")
            if not number:
                raise InstallError("--hosts needs a number")
            os.environ[hosts.HOSTS.name] = number
        else:
            raise InstallError(f"I know --demo, --hosts and --help, not '{word}'")
    machine.refuse_ordinary_user("up", ": containers need namespaces, cgroups and mounts")
    _up(demo=demo)
    return 0


def _up(*, demo: bool) -> None:
    say = Steps(sys.stdout)
    _restore_settings()
    of = Installation(load(os.environ, Path.cwd()), say)
    has_checked = _refuse(of)
    for folder, mode in ((of.var, 0o755), (of.var / "run", 0o755), (of.var / "logs", 0o750)):
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    inner.CACHE.of(of.environ).mkdir(parents=True, exist_ok=True)
    with of.locked():
        # The one that was waited for may have started it, with other settings.
        site = load(os.environ, Path.cwd())
        if site.saved != of.site.saved:
            of.site = site
            has_checked = _refuse(of)
        is_running = of.is_running
        if not is_running and not processes.of(of.var):
            machine.refuse_taken_ports(of)  # programs that were left behind hold ours
        prepare("server", say)
        credentials.choose_user(of)
        certificates = credentials.make(of)
        if not has_checked:
            machine.refuse_as_programs_do(of)
        if is_running:
            _take_over(of, certificates)
        else:
            _start_anew(of)
        ready.wait(of)
        if demo:
            ready.sign_up_demo(of)
        ready.tell(of)


def _restore_settings() -> None:
    """Undo what a bin/up has written that was cut short before it had asked the record."""
    var = Path(inner.VAR.text(os.environ))
    before = var / "settings.before"
    if before.exists() and is_unlocked(var):
        before.rename(var / "settings")


def _refuse(of: Installation) -> bool:
    """First all that can be known without touching anything. Whether programs have looked at the settings."""
    machine.refuse_missing_password(of)
    changes.refuse_fixed(of)
    scopes.refuse_taken(of.site)
    machine.refuse_networks(of)
    machine.refuse_full_disk(of)
    machine.refuse_foreign_address(of)
    has_checked = False
    if not of.has_saved_these:
        has_checked = machine.refuse_as_programs_do(of)
    if of.is_running:
        changes.refuse_by_record(of)
    return has_checked


def _start_anew(of: Installation) -> None:
    """Nothing runs: everything is started, and made where it is not there or made from something else."""
    _end_leftovers(of)
    machine.refuse_taken_ports(of)
    before = of.var / "settings.before"
    if of.saved_settings.exists():
        shutil.copy2(of.saved_settings, before)
    of.save_settings()
    scopes.claim(of.site)
    network.up(of)
    start.supervisor(of)
    start.keepers(of)
    try:
        changes.refuse_by_record(of)
    except InstallError:
        # It was started only to be asked: it goes back to how it was found.
        if before.exists():
            before.rename(of.saved_settings)
        kept = {name: text for name, text in os.environ.items() if name not in _ASKED}
        with suppress(InstallError):
            down.stop(Installation(load(kept, Path.cwd()), Steps(None)))
        raise
    before.unlink(missing_ok=True)
    update.look(of)
    update.do_steps(of)
    start.all_programs(of)
    update.note(of, *PROGRAMS)
    settle.settle(of)


def _end_leftovers(of: Installation) -> None:
    """Programs whose supervisor was killed: nobody looks after them, and they hold our ports."""
    left = processes.of(of.var)
    if left:
        of.say(f"ending {len(left)} programs whose supervisor is gone")
        processes.end_all(of.var, _LEFT_SECONDS)


def _take_over(of: Installation, certificates: set[str]) -> None:
    """It runs: what was made from other settings or code is brought up to date, one after another."""
    of.save_settings()
    update.look(of)
    if of.due:
        of.say(f"other settings or code: bringing up to date {update.due_programs(of)}")
    scopes.claim(of.site)
    network.up(of)
    of.write_conf()
    if of.due or "redis" in certificates:
        update.renew_keeping(of, certificates)
        start.keepers(of)
    update.do_steps(of)
    settle.end_unwanted(of)
    update.renew_programs(of)
    start.stopped(of)
    settle.settle(of)
