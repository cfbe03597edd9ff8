"""Starts what everything else stands on, and then all programs."""

import shutil

from installer import secret_files
from installer.commands import output
from installer.control import record
from installer.installation import PROGRAMS, Installation
from installer.machine import store
from settings import common, hosts, inner

# The password goes by the environment, out of the list of processes.
_PING = ("redis-cli", "--user", "control", "--no-auth-warning")


def supervisor(of: Installation) -> None:
    """Start the supervisor; no-op while it runs."""
    of.say("starting the supervisor")
    of.write_conf()
    # In a clean environment: programs get theirs from bin/stoa-env, which reads the file of settings.
    of.supervisor().start(environ=of.start_environment())


def keepers(of: Installation) -> None:
    """Start PostgreSQL, Redis and the keeper, and wait for them."""
    _ensure_postgres(of)
    _provide_store(of)
    of.supervisor().ask("start", "postgres", "redis", "keeper")
    of.wait_for("PostgreSQL", 60, lambda: record.answers(of.environ))
    of.wait_for("Redis", 20, lambda: _redis_answers(of))
    of.wait_for("the keeper", 20, (of.state / "keeper.sock").is_socket)
    record.ensure(of.environ)


def all_programs(of: Installation) -> None:
    """Start every program, without waiting."""
    of.say("starting every program")
    of.mark_start()
    of.supervisor().ask("start", *PROGRAMS)


def stopped(of: Installation) -> None:
    """Start again what has stopped; everything else is as it was when it last ran."""
    names = of.supervisor().stopped()
    if names:
        of.say(f"starting again: {' '.join(names)}")
        of.supervisor().ask("start", *names)


def _ensure_postgres(of: Installation) -> None:
    ready = of.var / "postgres/ready"
    if ready.exists():
        return
    shutil.rmtree(of.var / "postgres", ignore_errors=True)  # a first run that was cut short
    argv = of.enter(str(inner.REPO / "deploy/run-postgres"), "init", role="plain")
    of.attempt("making a PostgreSQL of our own", argv)
    ready.touch()


def _provide_store(of: Installation) -> None:
    """Where the file system under var/ cannot keep a shop below its limit, shops' data go into a btrfs in a
    file.
    """
    size = hosts.STORE_BYTES
    store.ensure(
        of.state,
        size.of(of.environ),
        of="for shops' data",
        remedy=f"a size that fits: {size.name}=2G bin/up; none: {size.name}=0 bin/up",
        note=of.say.note,
    )


def _redis_answers(of: Installation) -> bool:
    has_tls = bool(common.POOL_ADDRESS.text(of.environ))
    tls = ("--tls", "--cacert", inner.CONTROL_CA.text(of.environ)) if has_tls else ()
    password = secret_files.read(inner.SECRETS_DIR.of(of.environ) / "redis-control")
    port = ("-p", inner.REDIS_PORT.text(of.environ))
    environ = {**of.environ, "REDISCLI_AUTH": password}
    return "PONG" in output(*_PING, *port, *tls, "ping", env=environ)
