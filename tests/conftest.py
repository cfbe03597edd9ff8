"""What every test may use: a database and a broker of the run's own, and honest skips."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests import servers
from tests.stoa import stack

__all__ = ["stack"]  # a fixture: found by its name


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[None]:
    """PostgreSQL at settings.DATABASES; the fixture `db` brings it along."""
    with servers.postgres(Path(os.environ["STOA_TEST_HOME"])):
        yield


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres_server: None) -> None:
    """pytest-django asks for this before it makes the test database: now the server is there."""


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis at settings.STOA_BROKER_URL, user `control` who may do all; yields the URL."""
    url = os.environ["STOA_BROKER_URL"]
    with servers.redis_server(url):
        yield url


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what one worker must do in a row, so that two share neither a Stoa nor a module's fixtures.

    All that need a whole Stoa go to one worker, and first: they take longest, and it is started once.
    All that make a host of this machine go to one worker, because their hosts have one network.
    """
    order = {name: place for place, name in enumerate(_GROUPS)}
    groups = {item: _group_of(item) for item in items}
    items.sort(key=lambda item: order.get(groups[item], len(order)))  # otherwise as they were
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[item]))


_GROUPS = {"stoa": ("stack", "browser"), "host": ("root",)}


def _group_of(item: pytest.Item) -> str:
    for group, marks in _GROUPS.items():
        if any(item.get_closest_marker(mark) for mark in marks):
            return group
    return item.location[0]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what this machine cannot run."""
    wants_root = item.get_closest_marker("root") or item.get_closest_marker("stack")
    if wants_root and (lack := _lack_for_root()):
        pytest.skip(lack)
    if item.get_closest_marker("browser") and not shutil.which("chromium"):
        pytest.skip("chromium is not installed; bin/test installs it")


@cache
def _lack_for_root() -> str:
    if os.geteuid() != 0:
        return "needs root"
    for program in ("crun", "ip", "nft", "unshare"):
        if not shutil.which(program):
            return f"needs the program {program}; bin/test installs it"
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "true"],
        check=False,
        capture_output=True,
        text=True,
    )
    if tried.returncode:
        return f"this machine gives no namespaces: {tried.stderr.strip()}"
    return ""
