"""The tree is what the documents say: map and listing, paths in words, one meaning for each class name."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.tree import PACKAGES, REPO, place, python

MOST_ENTRIES = 13
# Names that a framework gives.
SHARED_NAMES = {"Command": "Django finds a management command by it"}
# Folders with more entries than a person takes in at a glance, and why.
LONG_LISTINGS = {
    "tenants": "a subject each",
    "controlplane": "programs and their parts",
    "controlplane/cli": "a file per word of the command line",
    "tenants/migrations": "grows by itself",
    "settings": "a group of settings each, and what reads the table",
    "runtime": "a part of the machine each",
    "runtime/edge": "one small program",
}
_ENTRY = re.compile(r"^(  )?([a-z_]+)/(?: |$)")


def _map() -> dict[str, list[str]]:
    """The folders that docs/architecture.md's map names, by their parent."""
    text = (REPO / "docs/architecture.md").read_text()
    block = text.partition("## The map")[2].partition("```")[2].partition("```")[0]
    named: dict[str, list[str]] = {}
    parent = ""
    for line in block.splitlines():
        entry = _ENTRY.match(line)
        if entry and entry[1]:
            named[parent].append(entry[2])
        elif entry:
            parent = entry[2]
            named[parent] = []
    return named


def _folders(parent: Path) -> list[str]:
    return sorted(one.name for one in parent.iterdir() if one.is_dir() and any(one.glob("**/*.py")))


def test_the_map_is_the_listing() -> None:
    named = _map()
    assert set(PACKAGES) <= set(named)
    for parent in PACKAGES:
        assert sorted(named[parent]) == _folders(REPO / parent), f"docs/architecture.md, {parent}/"
    missing = [one for one in named if not (REPO / one).is_dir()]
    assert missing == [], "docs/architecture.md names folders that are not there"


def test_a_listing_can_be_taken_in_at_a_glance() -> None:
    long = {}
    for package in sorted({path.parent for path in python(*PACKAGES)}):
        entries = [
            one.name
            for one in package.iterdir()
            if (one.suffix == ".py" and not one.name.startswith("__"))
            or (one.is_dir() and any(one.glob("**/*.py")))
        ]
        if len(entries) > MOST_ENTRIES:
            long[place(package)] = len(entries)
    assert {one: count for one, count in long.items() if one not in LONG_LISTINGS} == {}
    assert set(LONG_LISTINGS) - set(long) == set(), "these are short by now: take them off the list"


def test_a_class_name_has_one_meaning() -> None:
    places = defaultdict(list)
    for path in python(*PACKAGES):
        if "migrations" in path.parts:
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(place(path))
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in twice.items() if name not in SHARED_NAMES} == {}
    assert set(SHARED_NAMES) - set(twice) == set()


@pytest.mark.parametrize("readme", ["workers/usage/README.md", "workers/scheduler/README.md"])
def test_a_readme_names_every_file_beside_it(readme: str) -> None:
    text = (REPO / readme).read_text()
    folder = (REPO / readme).parent
    left_out = [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*.py"))
        if path.name != "__init__.py" and f"{path.name}" not in text
    ]
    assert left_out == []


# `a/b.py` in comments and documents. What the decisions tell of was so at their time.
_PATH = re.compile(r"(?<![\w./*<$-])((?:[A-Za-z_][\w-]*/)+[A-Za-z_]\w*\.py)\b")
_DOTTED = re.compile(r"(?<![\w./-])((?:controlplane|tenants|workers|runtime)(?:\.[a-z_]\w*)+)\b")
# Files that a reader is told to write, or not to.
EXAMPLES = {"workers/flows/pause.py", "utils.py"}
_TASK = re.compile(r'"(workers\.[a-z_]+)"')


def _scripts(folder: Path) -> Iterator[Path]:
    return (
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in {"", ".sh", ".in", ".conf"}
    )


def _texts() -> Iterator[tuple[str, str]]:
    documents = [
        *REPO.glob("*.md"),
        *REPO.glob("docs/*.md"),
        *(path for folder in PACKAGES for path in (REPO / folder).rglob("*.md")),
        *(path for folder in ("bin", "deploy") for path in _scripts(REPO / folder)),
    ]
    code = [*python(*PACKAGES, "bench", "deploy", "tests")]
    for path in [*documents, *code]:
        if path.name != "CHANGELOG.md":
            yield str(path.relative_to(REPO)), path.read_text()


_BARE = re.compile(r"`(?:[\w.…]*/)*(\w+\.py)\b")


def test_files_that_documents_name_without_a_folder_are_there() -> None:
    documents = [
        *(REPO / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *REPO.glob("docs/*.md"),
        *(path for folder in PACKAGES for path in (REPO / folder).rglob("*.md")),
    ]
    known = {path.name for path in REPO.rglob("*.py") if ".venv" not in path.parts}
    known |= {name.rpartition("/")[2] for name in EXAMPLES}
    lost = [
        f"{document.relative_to(REPO)}: {name}"
        for document in documents
        for name in _BARE.findall(document.read_text())
        if name not in known
    ]
    assert lost == []


def test_files_that_words_name_are_there() -> None:
    tracked = [
        str(path.relative_to(REPO)) for path in REPO.rglob("*.py") if ".venv" not in path.parts
    ]
    known = {"/".join(one.split("/")[start:]) for one in tracked for start in range(one.count("/"))}
    lost = [
        f"{place}: {name}"
        for place, text in _texts()
        if place != "tests/deploy/test_callers.py"
        for name in _PATH.findall(text)
        if name not in known and name not in EXAMPLES and name.split("/")[0] in _OURS
    ]
    assert lost == []


_OURS = {
    *PACKAGES,
    *("bench", "deploy", "services", "queries", "models", "flows", "agent", "scheduler", "api"),
}


def test_modules_that_words_name_are_there() -> None:
    modules = {
        ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__"): path
        for path in python(*PACKAGES)
    }
    tasks = {name for path in python("workers") for name in _TASK.findall(path.read_text())}
    lost = [
        f"{place}: {name}"
        for place, text in _texts()
        if not place.startswith("tests/deploy/") and "/migrations/" not in place
        for words in _words(place, text)
        for name in _DOTTED.findall(words)
        if name not in tasks and not _is_there(name, modules)
    ]
    assert lost == []


def _words(place: str, text: str) -> Iterator[str]:
    """A document as it is; of code its comments and strings."""
    if not place.endswith(".py"):
        yield text
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield token.string


def _is_there(name: str, modules: dict[str, Path]) -> bool:
    """Whether the longest module in the name has what comes after it."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if module in modules:
            rest = parts[length : length + 1]
            return not rest or bool(re.search(rf"\b{rest[0]}\b", modules[module].read_text()))
    return False
