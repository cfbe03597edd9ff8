"""One lab for all tests of several hosts: this machine and two further ones, started once."""

from collections.abc import Iterator

import pytest

from tests.lab.machines import HOSTS, Lab, until
from tests.stoa import free_lab_subnet, running


@pytest.fixture(scope="session")
def lab_of_all() -> Iterator[Lab]:
    """Three hosts that run; nothing of them is left at the end."""
    for stack in running(
        "l",
        STOA_HOSTS=str(len(HOSTS)),
        STOA_LAB_SUBNET=free_lab_subnet(),
    ):
        yield Lab(stack)


@pytest.fixture
def lab(lab_of_all: Lab) -> Lab:
    """The lab with every host well."""
    until(
        lab_of_all.all_alive, seconds=40, told=lambda: lab_of_all.sql("SELECT * FROM tenants_host")
    )
    return lab_of_all
