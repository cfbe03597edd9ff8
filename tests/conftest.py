"""What every test may use: a database and a broker of the run's own, and honest skips."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.utils import translation
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests import servers
from tests.stoa import stack
from tests.support import transactions

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


@pytest.fixture(autouse=True)
def no_language_of_another_test() -> Iterator[None]:
    """A request leaves its language behind in the thread, as Django means it to."""
    yield
    translation.deactivate()


@pytest.fixture(scope="session")
def watched_doors() -> None:
    """Every way to another machine is watched; see tests/support/transactions.py."""
    transactions.watch()


@pytest.fixture(autouse=True)
def no_network_inside_a_transaction(watched_doors: None) -> Iterator[None]:
    """Fail the test in which the product asked somebody while it held rows."""
    transactions.found.clear()
    yield
    assert transactions.found == [], "asked over a network inside a transaction"


# What one of the workers (bin/test) must do in a row, by directory, in the order in which it is begun: a
# whole Stoa is started once; hosts made of this machine have one network; the longest come first.
_GROUPS = {
    "stoa": ("tests/stack/", "tests/browser/"),
    "host": ("tests/runtime/", "tests/workers/agents/"),
    "lab": ("tests/lab/",),
}


# Modules of minutes whose classes make what they need themselves.
_BY_CLASS = ("tests/workers/flows/kills/test_matrix.py::Test",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order tests by group; within one they stay as they were."""
    order = [*_GROUPS]
    items.sort(
        key=lambda item: (
            order.index(name) if (name := _group_of(item.nodeid)) in order else len(order)
        )
    )


def _group_of(nodeid: str) -> str:
    """The group of a test, or its file: a module's fixtures are made once."""
    for name, folders in _GROUPS.items():
        if nodeid.startswith(folders):
            return name
    if nodeid.startswith(_BY_CLASS):
        return nodeid.rsplit("::", 1)[0]
    return nodeid.split("::", 1)[0]


class _Groups(LoadScopeScheduling):  # type: ignore[misc]
    """Hands whole groups to workers. (pytest-xdist 3.8's own way by marks does nothing on pytest 9.)"""

    def _split_scope(self, nodeid: str) -> str:
        return _group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Groups:
    """Called by pytest-xdist where there are several workers."""
    return _Groups(config, log)


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
