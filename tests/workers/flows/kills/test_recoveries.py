"""Every case of these flows; see harness.py for how one is run and matrix.py for what is told of it."""

import pytest

from tests.workers.flows.kills.cases import check_case, check_page, params
from tests.workers.flows.kills.harness import Case
from tests.workers.flows.kills.stage import Prepared

pytestmark = pytest.mark.django_db

NAMES = ("recover_lost", "recover_lost_no_volume", "recover_older", "recover_empty")


@pytest.mark.parametrize(("scene", "case"), params(NAMES), indirect=["scene"])
def test_a_disturbed_flow_comes_to_a_true_end(scene: Prepared, case: Case) -> None:
    check_case(scene, case)


@pytest.mark.parametrize("scene", NAMES, indirect=True)
def test_the_page_says_what_came_of_each(scene: Prepared) -> None:
    check_page(scene)
