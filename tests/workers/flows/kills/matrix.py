"""Every case of every flow, and the page that says what comes of each (docs/flows-under-kill.md)."""

import fcntl
import os
from pathlib import Path

from tenants.states import OperationState
from tests.workers.flows.kills import points
from tests.workers.flows.kills.checks import faults
from tests.workers.flows.kills.disturbances import DISTURBANCES
from tests.workers.flows.kills.harness import BACK_CALL, CALL, CALLS, Case, Journey
from tests.workers.flows.kills.scenes import SCENES, Scene
from tests.workers.flows.kills.stage import Prepared
from workers.flows.tables import TABLES

PAGE = Path(__file__).parents[4] / "docs" / "flows-under-kill.md"
# Set to 1, a run writes the page instead of comparing with it.
WRITE = "STOA_WRITE_MATRIX"
NOTHING = "–"
# What happens at each call, by whether it is before or after it.
AT_CALLS = {
    "before": ("removal", "taken_over", "both_at_it"),
    "after": ("repeat", "removal", "taken_over", "answer_lost"),
}
# What goes away after a step is missed by the next one only, so it is tried before that one.
_AS_BELOW = ("host_silent", "repository_away", "edge_silent")
AS_BELOW = "″"

_HEADER = """\
# What comes of a flow that is disturbed

The tests of `tests/workers/flows/kills` write this page. They disturb every flow before and after each
step, on the way forward and on the way back. Then workers and the sweep go on until nothing is left to
do. A row is a point of a flow; a column is what happens there; a cell is what came of it.

`STOA_WRITE_MATRIX=1 bin/test tests/workers/flows/kills` writes the page anew. A test fails when the page
and what was seen differ.

Whatever a cell says, all of this was true at the end of each case:

- One container ran at most, on any host, at any time. (A move without a volume starts the new one first.)
- The shop had the newest data, or the data that the record names. No order of a visitor was lost.
- The words for members, in English and Japanese, and those for operators were true.
- Nothing was left: no second place, booking, route, hold, volume, container, lease or half a copy.

What happens:

| column | what happens at the point |
| --- | --- |
| repeat | The worker is killed. Another one goes on. |
| cancel | Somebody asks the operation to stop. |
| removal | The shop is removed to its end while the worker sleeps. Then the worker wakes up. |
| taken over | The worker sleeps past its lease. Another one ends the operation. Then the worker wakes up. |
| both at it | The worker sleeps past its lease and wakes up after a call of another one. A third goes on. |
| answer lost | A call does its work and its answer is lost: the step's first (before), or last (after). |
| host silent | The host that is called next cannot be reached for three rounds. |
| repository away | The repository cannot be reached for three rounds. |
| edge silent | The edge takes no route and answers nothing for three rounds. |
| database gone | Every query fails until the worker has given up. |
| broker gone | No call is carried for three rounds. After a step, one more works and its answer is lost. |

What came of it:

| cell | meaning |
| --- | --- |
| on | The operation went on and succeeded. |
| back | The operation failed. The shop is as it was before. |
| stopped | The operation was cancelled. |
| too late | The cancel was refused. The operation went on as if nobody had asked. |
| removed | The removal won. Nothing is left of the shop. |
| then … | Control opened this operation by itself afterwards, and it succeeded. |
| ″ | As in the row below: between the two rows nothing outside is asked. |
| – | Nothing of this kind can happen there: the step makes no such call. |

`end` is the write that ends the operation. A row about a call has only what can happen between two calls; its
answer is lost in the row after it.
"""


def cases_of(scene: Scene) -> list[Case]:
    """Every case of a scene, in the order of its page."""
    flow = TABLES[scene.verb]
    found = points.forward_points(flow)
    if scene.back:
        found += points.backward_points(flow, scene.back)
    every = [Case(scene.name, *point, kind) for point in found for kind in DISTURBANCES]
    every = [case for case in every if not _is_as_below(case)]
    for way, calls in ((CALL, scene.calls), (BACK_CALL, scene.back_calls)):
        numbers = [str(number) for number in range(1, calls + 1)]
        points_of = [(way, number, when) for number in numbers for when in AT_CALLS]
        every += [Case(scene.name, *at, kind) for at in points_of for kind in AT_CALLS[at[2]]]
    return every


def is_long(case: Case) -> bool:
    """Whether only `bin/test --all` runs it: what is nearly the same is tried beside it."""
    if case.disturbance == "both_at_it":
        return True
    if not SCENES[case.scene].has_volume or case.scene == "remove_moving":
        return True
    if case.way in CALLS:
        is_usual = case.disturbance in ("repeat", "answer_lost") or case.when == "before"
        return case.disturbance == "removal" or not is_usual
    return case.disturbance == "taken_over" and case.when == "after"


def _is_as_below(case: Case) -> bool:
    return case.when == "after" and case.step != points.END and case.disturbance in _AS_BELOW


def run_case(prepared: Prepared, case: Case) -> tuple[str, list[str]]:
    """What came of the case, and every rule that was broken."""
    if not prepared.made:
        _count_calls(prepared)
    if case.disturbance == "answer_lost" and not _has_call(prepared, case):
        return NOTHING, []
    with prepared.case():
        journey = Journey(prepared, case, look=faults)
        found = journey.settle()
        if not journey.has_fired:
            found.append(f"the flow never came to {case.step}, {case.when}")
        if found:
            found.append(f"{journey.told}; {journey.operation.error_message}")
        return _outcome(journey), found


def _count_calls(prepared: Prepared) -> None:
    """How many calls each act and each undo makes when nothing comes between."""
    name = prepared.scene.name
    for way in ("", *(["back"] if prepared.scene.back else [])):
        with prepared.case():
            journey = Journey(prepared, Case(name, way, "", "", ""), look=faults)
            journey.is_mended = True
            found = journey.settle()
            prepared.calls |= journey.calls
            if way:
                prepared.undone = journey.made[journey.calls_forward :]
                wanted, seen = prepared.scene.back_calls, prepared.undone
            else:
                prepared.made = journey.made
                wanted, seen = prepared.scene.calls, prepared.made
            assert len(seen) == wanted, f"scenes.py: {len(seen)} calls: {seen}"
            assert not found, f"{name}, undisturbed: {found}"


def _has_call(prepared: Prepared, case: Case) -> bool:
    """Whether the step makes a call whose answer can be lost there."""
    if case.way in CALLS:
        return True
    return prepared.calls.get((case.way, case.step), 0) > (case.when == "after")


def _outcome(journey: Journey) -> str:
    if journey.trouble.removal is not None:
        return "removed"
    states = {
        OperationState.SUCCEEDED: "on",
        OperationState.FAILED: "back",
        OperationState.CANCELLED: "stopped",
    }
    word = states.get(OperationState(journey.operation.state), "open")
    if journey.trouble.is_cancel_heard is False:
        word = "too late"
    return f"{word}, then {', '.join(journey.mended)}" if journey.mended else word


# The page ----------------------------------------------------------------------------------------


def section_of(prepared: Prepared, outcomes: dict[Case, str]) -> str:
    """The page's part about a scene."""
    scene = prepared.scene
    columns = [name.replace("_", " ") for name in DISTURBANCES]
    lines = [f"## {scene.title}", "", f"| | {' | '.join(columns)} |"]
    lines.append(f"| --- |{' --- |' * len(columns)}")
    rows = dict.fromkeys((case.way, case.step, case.when) for case in outcomes)
    for way, step, when in rows:
        cells = [
            outcomes.get(Case(scene.name, way, step, when, kind), "" if way in CALLS else AS_BELOW)
            for kind in DISTURBANCES
        ]
        lines.append(f"| {_row(prepared, way, step, when)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _row(prepared: Prepared, way: str, step: str, when: str) -> str:
    if way in CALLS:
        made, back = (prepared.made, "") if way == CALL else (prepared.undone, "back: ")
        return f"{back}{when} call {step}, `{made[int(step) - 1]}`"
    if way:
        return f"back: {when} {'' if step == points.END else 'the undo of '}`{step}`"
    return f"{when} `{step}`"


def seen_before(prepared: Prepared, case: Case, section: str) -> str:
    """The case's cell in its scene's section of the page; "" where it has none."""
    lines = section.splitlines()
    row, kind = _row(prepared, case.way, case.step, case.when), case.disturbance.replace("_", " ")
    cells = next((_cells(line) for line in lines if line.startswith(f"| {row} |")), [])
    heads = _cells(lines[2]) if len(lines) > 2 else []
    return cells[heads.index(kind)] if kind in heads and cells else ""


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")[1:-1]]


def page_of(sections: dict[str, str]) -> str:
    """The whole page, from its sections by title."""
    known = [scene.title for scene in SCENES.values()]
    return "\n".join([_HEADER, *(sections[title] for title in known if title in sections)])


def sections_of(page: str) -> dict[str, str]:
    """The sections of a page by title."""
    parts = [f"## {part}" for part in page.split("\n## ")[1:]]
    return {part.partition("\n")[0].removeprefix("## "): f"{part.rstrip()}\n" for part in parts}


def is_written() -> bool:
    """Whether this run writes the page."""
    return os.environ.get(WRITE) == "1"


def read() -> str:
    """The page as it is; another process may be writing it."""
    with PAGE.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        return file.read()


def write(section: str) -> None:
    """Put a section into the page; several processes may do so at once."""
    title = section.partition("\n")[0].removeprefix("## ")
    with PAGE.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        sections = sections_of(file.read()) | {title: section}
        file.seek(0)
        file.truncate()
        file.write(page_of(sections))
