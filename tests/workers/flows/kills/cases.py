"""What the test modules of the matrix share: a parameter for each case, and the look at the page."""

import pytest
from _pytest.mark import ParameterSet

from tests.workers.flows.kills import matrix
from tests.workers.flows.kills.harness import Case
from tests.workers.flows.kills.scenes import SCENES
from tests.workers.flows.kills.stage import Prepared

_OUTCOMES: dict[Case, str] = {}


def params(name: str) -> list[ParameterSet]:
    """A parameter for each case of the scene, which names itself."""
    return [pytest.param(case, id=case.name) for case in matrix.cases_of(SCENES[name])]


def check_case(prepared: Prepared, case: Case) -> None:
    """Run the case; every rule holds."""
    _OUTCOMES[case], faults = matrix.run_case(prepared, case)
    assert not faults, "; ".join(faults)


def check_page(prepared: Prepared) -> None:
    """The page has what was seen of the scene; or it is written now."""
    scene = prepared.scene
    cases = matrix.cases_of(scene)
    if any(case not in _OUTCOMES for case in cases):
        pytest.skip("only some of its cases were run")
    section = matrix.section_of(prepared, {case: _OUTCOMES[case] for case in cases})
    if matrix.is_written():
        matrix.write(section)
    page = matrix.PAGE.read_text()
    assert matrix.sections_of(page).get(scene.title) == section, f"set {matrix.WRITE}=1 to write it"
    assert page == matrix.page_of(matrix.sections_of(page))
