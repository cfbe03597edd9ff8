"""Every case of every scene; harness.py says how one is run, and matrix.py what is told of it.

A class for each scene, so that it is made once, and processes share the scenes among them.
"""

import pytest

from tests.workers.flows.kills import matrix
from tests.workers.flows.kills.harness import Case
from tests.workers.flows.kills.scenes import SCENES
from tests.workers.flows.kills.stage import Prepared

pytestmark = pytest.mark.django_db


class EachCase:
    """A scene's cases, and the page's part about it."""

    name = ""
    outcomes: dict[Case, str]

    def __init_subclass__(cls) -> None:
        cls.outcomes = {}

    def test_a_disturbed_flow_comes_to_a_true_end(self, scene: Prepared, case: Case) -> None:
        """Every rule holds, whatever comes between."""
        self.outcomes[case], faults = matrix.run_case(scene, case)
        assert not faults, "; ".join(faults)

    def test_the_page_says_what_came_of_each(self, scene: Prepared) -> None:
        """The page has what was seen of the scene; or it is written now."""
        cases = matrix.cases_of(scene.scene)
        is_partly = any(case not in self.outcomes and not matrix.is_long(case) for case in cases)
        if not self.outcomes or (is_partly and not matrix.is_written()):
            pytest.skip("only some of its cases were run")
        before = matrix.sections_of(matrix.read()).get(scene.scene.title, "\n\n")
        section = matrix.section_of(
            scene,
            {
                case: self.outcomes.get(case) or matrix.seen_before(scene, case, before)
                for case in cases
            },
        )
        if matrix.is_written():
            matrix.write(section)
        page = matrix.read()
        found = matrix.sections_of(page)
        assert found.get(scene.scene.title) == section, f"set {matrix.WRITE}=1 to write it"
        assert page == matrix.page_of(found)


class TestProvision(EachCase):
    name = "provision"


class TestProvisionWithoutVolume(EachCase):
    name = "provision_no_volume"


class TestRepair(EachCase):
    name = "repair"


class TestMove(EachCase):
    name = "move"


class TestMoveWithoutVolume(EachCase):
    name = "move_no_volume"


class TestRestore(EachCase):
    name = "restore"


class TestRecoverLost(EachCase):
    name = "recover_lost"


class TestRecoverLostWithoutVolume(EachCase):
    name = "recover_lost_no_volume"


class TestRecoverOlder(EachCase):
    name = "recover_older"


class TestRecoverEmpty(EachCase):
    name = "recover_empty"


class TestRemove(EachCase):
    name = "remove"


class TestRemoveMoving(EachCase):
    name = "remove_moving"


def test_every_scene_has_its_cases() -> None:
    assert [one.name for one in EachCase.__subclasses__()] == [*SCENES]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A parameter for each case of the class's scene, which names itself."""
    if "case" in metafunc.fixturenames and metafunc.cls is not None:
        metafunc.parametrize(
            "case",
            [
                pytest.param(
                    case, id=case.name, marks=[pytest.mark.long] if matrix.is_long(case) else []
                )
                for case in matrix.cases_of(SCENES[metafunc.cls.name])
            ],
        )
