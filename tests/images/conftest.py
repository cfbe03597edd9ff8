"""A fresh shop, in English unless a test starts its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.shops import Shop, running


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with running(tmp_path) as shop:
        yield shop
