"""A scene is prepared once for all its cases."""

import gc
from collections.abc import Iterator

import pytest
from pytest_django.plugin import DjangoDbBlocker

from tests.workers.flows.kills.scenes import SCENES
from tests.workers.flows.kills.stage import Prepared, prepared


@pytest.fixture(scope="module")
def scene(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[Prepared]:
    """The scene of this name; the tests of one come one after another."""
    with django_db_blocker.unblock(), prepared(SCENES[request.param]) as made:
        gc.freeze()  # what is there now stays: hundreds of cases need not look at it again
        yield made
        gc.unfreeze()
