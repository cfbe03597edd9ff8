"""What the tests of /metrics share."""

from collections.abc import Iterator

import pytest
from prometheus_client import Counter, Histogram, Summary

from tenants.core import metrics


@pytest.fixture
def clean() -> Iterator[None]:
    """What tests make of labels is not there before and after: the registry is the process's own."""
    for turn in range(2):
        for one in vars(metrics).values():
            if isinstance(one, Counter | Histogram | Summary) and one is not metrics.CLAIM:
                one.clear()
        if turn == 0:
            yield
