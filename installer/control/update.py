"""Brings what was made from other settings or code up to date, one after another, while people visit."""

from installer import secret_files
from installer.commands import logged, tail
from installer.control import images
from installer.installation import PROGRAMS, Installation
from installer.machine import store
from installer.progress import InstallError, complain
from installer.supervising import concerns
from installer.supervising.supervisor import SupervisorError
from settings import common, inner

# In the order in which they are brought up to date. The others have ways of their own.
_RENEWED = [name for name in concerns.PROGRAMS if name not in {"postgres", "redis", "keeper"}]
_EDGE_SECONDS = 60.0


def look(of: Installation) -> None:
    """Find out what is due (installer/supervising/concerns.py has the table)."""
    of.now = concerns.fingerprints(of.environ)
    of.due = concerns.due(of.var, of.now)


def due_programs(of: Installation) -> str:
    """Return the programs that are due, in words."""
    return " ".join(name for name in PROGRAMS if name in of.due) or "the record"


def note(of: Installation, *names: str) -> None:
    """Write down that these are made from what was looked at."""
    concerns.note(of.var, of.now, *names)


def do_steps(of: Installation) -> None:
    """What is installed beside programs: images, tables, static files, and what the record begins with."""
    if "images" in of.due or not images.are_built(of):
        images.build(of)
        note(of, "images")
    if "tables" in of.due:
        of.attempt("bringing the tables up to date", of.enter("manage.py", "migrate", "--noinput"))
        note(of, "tables")
    if "static" in of.due:
        # Without --clear: pages of before the update still name the files of before.
        of.attempt("collecting static files", of.enter("manage.py", "collectstatic", "--noinput"))
        _let_all_read(of)
        note(of, "static")
    if "record" in of.due:
        what = "writing plans, the shop's release, this host and edge, and the first logins"
        of.attempt(what, _bootstrap(of))
        note(of, "record")


def _let_all_read(of: Installation) -> None:
    root = inner.STATIC_ROOT.of(of.environ)
    for path in (root, *root.rglob("*")):
        mode = path.stat().st_mode
        is_runnable = path.is_dir() or mode & 0o111
        path.chmod(mode | (0o555 if is_runnable else 0o444))


def _bootstrap(of: Installation) -> list[str]:
    words = [word for pair in store.size_option(of.state).items() for word in pair]
    for image in images.built(of):
        words += ["--image", f"{image.name}={image.digest}", "--layout", image.layout]
    return of.enter("manage.py", "bootstrap", *words)


def renew_keeping(of: Installation, certificates: set[str]) -> None:
    """PostgreSQL and Redis: programs ask again when they are back. certificates: those that are new."""
    for name in ("postgres", "redis"):
        if name in of.due:
            of.say(f"restarting {name}")
            _renew(of, "renew", name, f"{name} did not start again")
            note(of, name)
    # It reads its certificate once. Nothing in it must be kept, so a restart costs a moment and no more.
    if "redis" in certificates and common.POOL_ADDRESS.text(of.environ) and "redis" not in of.due:
        of.supervisor().ask("renew", "redis")


def renew_programs(of: Installation) -> None:
    """All others. A program that does not come up ends it; those after it go on as they are."""
    if "keeper" in of.due:
        _renew_keeper(of)
        note(of, "keeper")
    if {"host-agent", "edge-agent"}.intersection(of.due):
        of.mark_start()
    for name in _RENEWED:
        if name not in of.due:
            continue
        of.say(f"bringing {name} up to date")
        verb = "takeover" if of.due[name] == "takeover" else "renew"
        failed = f"{name} did not come up again with the new code or settings"
        _renew(of, verb, name, failed, "bin/up tries again; the others go on as they are")
        if name == "edge-agent":
            _reload_edge(of)
        note(of, name)


def _renew(of: Installation, verb: str, name: str, failed: str, *remedies: str) -> None:
    try:
        of.supervisor().ask(verb, name)
    except SupervisorError as error:
        complain(str(error))
        of.supervisor().complain_of_unwell()
        raise InstallError(failed, f"its log: {of.var}/logs/{name}.log", *remedies) from error


def _reload_edge(of: Installation) -> None:
    """The agent reloads HAProxy, or finds that nothing of it changed."""
    of.supervisor().ask("start", "haproxy")  # one that runs is left alone
    renewed = inner.EDGE_STATE.of(of.environ) / "renewed"
    of.wait_for(
        "HAProxy with its new configuration (the old one serves on; see edge-agent.log)",
        _EDGE_SECONDS,
        lambda: secret_files.read(renewed) == str(of.supervisor().pid_of("edge-agent")),
    )


def _renew_keeper(of: Installation) -> None:
    """The keeper executes its new code in place, and no shop stops; else it is restarted with them."""
    log = of.var / "logs/last-step"
    upgrade = of.enter("python", "-m", "runtime", "keeper-upgrade", role="plain")
    if not logged(upgrade, log, env=of.environ):
        of.say("the keeper runs with the new code and settings; shops went on")
        return
    of.say("the keeper could not change its code in place: restarting it, and the shops with it")
    complain(tail(log, 5))
    of.supervisor().ask("renew", "keeper")
