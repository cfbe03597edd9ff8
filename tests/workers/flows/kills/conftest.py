"""A scene is prepared once for all its cases."""

import gc
from collections.abc import Iterator

import pytest
from pytest_django.plugin import DjangoDbBlocker

from tests.workers.flows.kills.scenes import SCENES
from tests.workers.flows.kills.stage import Prepared, prepared


@pytest.fixture(scope="class")
def scene(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[Prepared]:
    """The one of the class, or the one that a test names. It is made once for all tests of a class."""
    name = getattr(request, "param", None) or request.cls.name
    with django_db_blocker.unblock(), prepared(SCENES[name]) as made:
        gc.freeze()  # what is there now stays: hundreds of cases need not look at it again
        yield made
        gc.unfreeze()
