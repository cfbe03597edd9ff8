"""Starts the test run's own PostgreSQL and Redis, and ends them even when the test run is killed."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import redis


class ServerMissingError(Exception):
    """A server program that the tests need is not installed."""


@contextmanager
def postgres(home: Path) -> Iterator[None]:
    """Run PostgreSQL with data and socket in home/postgres; nothing is synced to disk."""
    programs = _postgres_programs()
    place = home / "postgres"
    data = place / "data"
    data.mkdir(parents=True, mode=0o700)
    if os.geteuid() == 0:
        for folder in (place, data):
            shutil.chown(folder, "postgres", "postgres")
    first = ["--no-sync", "--auth=trust", "--username=stoa", "--encoding=UTF8", "--locale=C.UTF-8"]
    subprocess.run(
        [*_as("postgres"), programs / "initdb", *first, f"--pgdata={data}"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
    )
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(place),
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "shared_buffers": "64MB",
        "max_connections": "100",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (place / "log").open("wb") as log:
        server = subprocess.Popen(
            [*_as("postgres"), programs / "postgres", "-D", data, *options],
            stdout=log,
            stderr=log,
            cwd="/",
        )
    try:
        ask = [
            str(programs / "psql"),
            "-h",
            str(place),
            "-U",
            "stoa",
            "-d",
            "postgres",
            "-Atqc",
            "SELECT 1",
        ]

        def answers() -> bool:
            return subprocess.run(ask, check=False, capture_output=True).returncode == 0

        _wait(answers, server, place / "log")
        yield
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nothing in it is needed again
        server.wait(30)


@contextmanager
def redis_server(url: str) -> Iterator[None]:
    """Run a Redis that keeps nothing, at the URL's port, with the URL's user and no default user."""
    place = urlsplit(url)
    lines = [
        f"bind 127.0.0.1\nport {place.port}\nsave ''\nappendonly no\nuser default off",
        f"user {place.username} on >{place.password} ~* &* +@all\n",
    ]
    server = subprocess.Popen(
        [*_as("redis"), "redis-server", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd="/",
    )
    assert server.stdin
    server.stdin.write("\n".join(lines).encode())
    server.stdin.close()
    client = redis.Redis.from_url(url)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    try:
        _wait(answers, server, None)
        yield
    finally:
        client.close()
        server.terminate()
        server.wait(30)


def _as(user: str) -> list[str]:
    # The kernel ends the server with us, however we end. Without root, it runs as ourselves.
    alone = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        alone += [f"--reuid={user}", f"--regid={user}", "--init-groups"]
    return [*alone, "--"]


def _postgres_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise ServerMissingError("PostgreSQL is not installed; bin/test installs what is missing")
    return found[-1].parent


def _wait(is_up: Callable[[], bool], server: subprocess.Popen[bytes], log: Path | None) -> None:
    deadline = time.monotonic() + 30
    while not is_up():
        if server.poll() is not None or time.monotonic() > deadline:
            told = log.read_text()[-2000:] if log else ""
            raise RuntimeError(f"a server of the tests did not start: {server.args!r}\n{told}")
        time.sleep(0.03)
