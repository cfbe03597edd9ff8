"""The table of alarms: each kind is raised, each raised alarm is declared, and both languages name it."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import translation

from docs import alarms as document
from tenants.core import alarm_kinds, alarms
from tenants.core.alarm_kinds import KINDS, AlarmKind
from tests.deploy.tree import PACKAGES, REPO, place, python

DECLARED = {name: kind for name, kind in vars(alarm_kinds).items() if isinstance(kind, AlarmKind)}
TABLE = "tenants/core/alarm_kinds.py"


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in python(*PACKAGES):
        if "migrations" not in path.parts and place(path) != TABLE:
            yield path, ast.parse(path.read_text())


def test_a_kind_that_is_declared_is_raised() -> None:
    used = {
        getattr(node, "attr", getattr(node, "id", ""))
        for _, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    }
    assert set(DECLARED) - used == set(), f"nobody raises these: take them out of {TABLE}"


def test_a_key_is_made_by_its_kind_alone() -> None:
    """A text that begins like the key of an alarm could be one that the table does not have."""
    by_hand = []
    for path, tree in _trees():
        keys = re.compile(rf"({'|'.join(_groups_of(tree))})\.[a-z]*$")
        by_hand += [
            f"{place(path)}:{node.lineno}: {ast.unparse(node)}"
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr | ast.Constant) and keys.match(_beginning(node))
        ]
    assert by_hand == []


# What else begins so: queues and keys on the broker.
OTHERS = {"edge", "host", "report"}


def _groups_of(tree: ast.Module) -> set[str]:
    """The groups that the module keeps, and those whose names mean nothing else."""
    return {kind.group for kind in KINDS} - OTHERS | {
        ast.literal_eval(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "alarms.keep"
    }


def _beginning(node: ast.JoinedStr | ast.Constant) -> str:
    first = node.values[0] if isinstance(node, ast.JoinedStr) else node
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def test_every_group_is_kept_by_one_call() -> None:
    kept = {
        (ast.literal_eval(node.args[0]), place(path))
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "alarms.keep"
    }
    assert {group for group, _ in kept} == {kind.group for kind in KINDS}
    twice = [group for group, count in Counter(group for group, _ in kept).items() if count > 1]
    assert twice == [], "what one of the two raises, the other closes"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "key", ["disk.one", "health.asleep.a", "health.lost.a.b", "edge.a.refused"]
)
def test_an_alarm_that_nobody_declared_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="alarm_kinds"):
        alarms.keep("health", {key: "a sentence"})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.pattern)
def test_a_key_is_found_again_as_of_its_kind_only(kind: AlarmKind) -> None:
    names = ["one", "2", "a-b"][: kind.pattern.count("<")]
    key = kind.key(*names)
    assert [other for other in KINDS if other.names(key) is not None] == [kind]
    assert alarm_kinds.of(key) is kind
    assert alarm_kinds.host_of(key) == ("one" if "<host>" in kind.pattern else "")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.pattern)
def test_a_kind_has_its_words_in_both_languages(kind: AlarmKind) -> None:
    for text in (kind.title, kind.remedy, kind.severity.label):
        with translation.override("en"):
            english = str(text)
        catalogue = (REPO / "locale/ja/LC_MESSAGES/django.po").read_text()
        assert f'\nmsgid "{english}"\nmsgstr "' in catalogue
        assert f'\nmsgid "{english}"\nmsgstr ""' not in catalogue
        assert len(english.split()) <= 20
    assert str(kind.remedy).endswith(".")


def test_the_document_is_that_of_the_table() -> None:
    with translation.override("en"):
        made = document.page()
    written = (REPO / "docs/alarms.md").read_text()
    assert made == written, "write it anew: python3 docs/alarms.py >docs/alarms.md"


def test_alarms_that_other_documents_name_are_there() -> None:
    sentence = re.compile(r"\balarms?((?:,| and| or)? `[\w.<>-]+`)+")
    lost = [
        f"{path.name}: {key}"
        for path in [*REPO.glob("docs/*.md"), REPO / "README.md", REPO / "CONTRIBUTING.md"]
        for match in sentence.finditer(path.read_text())
        for key in re.findall(r"`([^`]+)`", match[0])
        if alarm_kinds.of(re.sub("[<>]", "", key)) is None
    ]
    assert lost == []
