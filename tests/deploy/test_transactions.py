"""The watch over networks and transactions sees what it is for; tests/conftest.py runs it in every test."""

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from django.db import transaction

from tenants.snapshots.repositories import RepositoryError
from tenants.snapshots.repositories.directory import DirectoryRepository
from tests.support import transactions
from tests.support.fake_driver import FakeDriver


def by_socket(_place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect_ex("/nowhere")


def at_a_host(_place: Path) -> None:
    FakeDriver().list()


def in_the_repository(place: Path) -> None:
    with suppress(RepositoryError):  # there is none
        DirectoryRepository(str(place)).remove(["ten_a/snp_b"])


@pytest.mark.parametrize("asks", [by_socket, at_a_host, in_the_repository])
def test_who_asks_over_a_network_while_rows_are_held_is_found(
    db: None, tmp_path: Path, asks: Callable[[Path], None]
) -> None:
    asks(tmp_path)
    assert transactions.found == []
    with transaction.atomic():
        asks(tmp_path)
    (told,) = transactions.found
    assert asks.__name__ not in told, "the test's own lines say nothing about the product"
    transactions.found.clear()
