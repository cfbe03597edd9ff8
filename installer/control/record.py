"""Asks the record by psql, before Django can be started."""

from collections.abc import Mapping

from installer.commands import check, output
from settings import inner


def rows(environ: Mapping[str, str], question: str) -> list[list[str]]:
    """Return what the record answers, without its empty lines; [] when it does not."""
    text = output(*_psql(environ, "stoa"), question, env=environ)
    return [line.split("|") for line in text.splitlines() if line]


def value(environ: Mapping[str, str], question: str) -> str:
    """Return a single value; "" when there is none."""
    found = rows(environ, question)
    return found[0][0] if found else ""


def answers(environ: Mapping[str, str]) -> bool:
    """Return whether PostgreSQL takes questions."""
    return bool(output(*_psql(environ, "postgres"), "SELECT 1", env=environ))


def ensure(environ: Mapping[str, str]) -> None:
    """Make the database if there is none."""
    ask = _psql(environ, "postgres")
    if not output(*ask, "SELECT 1 FROM pg_database WHERE datname = 'stoa'", env=environ).strip():
        check(*ask, "CREATE DATABASE stoa", env=environ)


def _psql(environ: Mapping[str, str], database: str) -> list[str]:
    socket = inner.PG_SOCKET.text(environ)
    return ["psql", "-h", socket, "-U", "stoa", "-d", database, "-Atqc"]
