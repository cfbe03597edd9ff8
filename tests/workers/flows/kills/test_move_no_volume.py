"""Every case of this scene; harness.py says how one is run, and matrix.py what is told of it."""

import pytest

from tests.workers.flows.kills.cases import check_case, check_page, params
from tests.workers.flows.kills.harness import Case
from tests.workers.flows.kills.stage import Prepared

pytestmark = [pytest.mark.django_db, pytest.mark.long]  # its like is tried in every run

SCENE = "move_no_volume"


@pytest.mark.parametrize("case", params(SCENE))
def test_a_disturbed_flow_comes_to_a_true_end(scene: Prepared, case: Case) -> None:
    check_case(scene, case)


def test_the_page_says_what_came_of_each(scene: Prepared) -> None:
    check_page(scene)
