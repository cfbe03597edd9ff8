"""Who burns processor time waits for the others, until he no longer burns: files as the kernel shows them."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.cgroup.burners import Burners, judge
from runtime.cgroup.layout import Layout, Version

BURNER, QUIET = "ins_00000001", "ins_00000002"


@pytest.mark.parametrize(
    ("used", "was_marked", "is_marked"),
    [(0.49, False, False), (0.5, False, True), (0.25, True, True), (0.24, True, False)],
)
def test_a_mark_begins_with_half_a_core_and_ends_below_a_quarter(
    used: float, was_marked: bool, is_marked: bool
) -> None:
    marked = judge({BURNER: used}, frozenset({BURNER} if was_marked else ()))
    assert (BURNER in marked) is is_marked


@dataclass
class Tree:
    """A scope's cgroups with what each has used, and a clock."""

    root: Path
    version: Version
    now: float = 100.0

    def layout(self) -> Layout:
        return Layout(self.version, {"cpu": self.root, "cpuacct": self.root}, (self.root,))

    def add(self, name: str) -> None:
        (self.root / "s" / name).mkdir(parents=True)
        (self.root / "s" / name / "cpu.idle").write_text("0\n")
        self.weight_of(name).write_text("")

    def weight_of(self, name: str) -> Path:
        return self.root / "s" / name / ("cpu.shares" if self.version == 1 else "cpu.weight")

    def use(self, total: float, **seconds: float) -> None:
        for name, used in {"": total, **seconds}.items():
            place = self.root / "s" / name
            if self.version is Version.V1:
                (place / "cpuacct.usage").write_text(f"{round(used * 1e9)}\n")
            else:
                (place / "cpu.stat").write_text(f"usage_usec {round(used * 1e6)}\nuser_usec 0\n")

    def idle(self, name: str) -> str:
        return (self.root / "s" / name / "cpu.idle").read_text().strip()

    def look(self, burners: Burners) -> str:
        self.now += 1.0
        burners.look(self.now)
        return self.idle(BURNER) + self.idle(QUIET)


@pytest.fixture(params=[Version.V1, Version.V2])
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> Tree:
    tree = Tree(tmp_path, request.param)
    tree.add(BURNER)
    tree.add(QUIET)
    return tree


def test_a_burner_is_marked_while_he_burns_and_then_weighs_what_his_plan_says(tree: Tree) -> None:
    burners = Burners(tree.layout(), "s", lambda _instance: 512)
    seen = []
    for total, burnt in ((0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (3.1, 3.1)):
        tree.use(total, **{BURNER: burnt, QUIET: 0.0})
        seen.append(tree.look(burners))
    # The first look learns what each has used, the second can compare.
    assert seen == ["00", "10", "10", "10", "00"]
    weighs = {Version.V1: "512", Version.V2: "20"}[tree.version]
    assert tree.weight_of(BURNER).read_text() == weighs
    assert tree.weight_of(QUIET).read_text() == ""


def test_a_burner_whom_others_leave_nothing_competes_again(tree: Tree) -> None:
    burners = Burners(tree.layout(), "s", lambda _instance: 1024)
    seen = []
    used = ((0.0, 0.0), (2.0, 1.0), (4.0, 2.0), (6.0, 2.1), (8.0, 2.9), (10.0, 3.0))
    for total, burnt in used:
        tree.use(total, **{BURNER: burnt, QUIET: 0.0})
        seen.append(tree.look(burners)[0])
    assert seen == ["0", "1", "1", "0", "1", "0"]


def test_a_mark_that_an_earlier_keeper_left_is_taken_away(tree: Tree) -> None:
    (tree.root / "s" / BURNER / "cpu.idle").write_text("1\n")
    burners = Burners(tree.layout(), "s", lambda _instance: 1024)
    seen = []
    for total in (0.0, 0.1):
        tree.use(total, **{BURNER: 0.0, QUIET: 0.0})
        seen.append(tree.look(burners)[0])
    assert seen == ["1", "0"]


def test_many_quiet_ones_that_together_use_a_core_are_not_burners(tree: Tree) -> None:
    burners = Burners(tree.layout(), "s", lambda _instance: 1024)
    seen = []
    for step in range(4):
        tree.use(0.8 * step, **{BURNER: 0.4 * step, QUIET: 0.4 * step})
        seen.append(tree.look(burners))
    assert seen == ["00"] * 4


def test_a_container_that_goes_and_a_kernel_without_the_switch_are_no_trouble(tree: Tree) -> None:
    (tree.root / "s" / BURNER / "cpu.idle").unlink()
    burners = Burners(tree.layout(), "s", lambda _instance: 1024)
    for step in range(4):
        tree.use(1.0 * step, **{BURNER: 1.0 * step, QUIET: 0.0})
        tree.now += 1.0
        burners.look(tree.now)
    assert not (tree.root / "s" / BURNER / "cpu.idle").exists()
    assert tree.idle(QUIET) == "0"


def test_without_a_scope_nobody_is_looked_at(tmp_path: Path) -> None:
    layout = Layout(Version.V2, {"cpu": tmp_path}, (tmp_path,))
    Burners(layout, "s", lambda _instance: 1024).look(1.0)
