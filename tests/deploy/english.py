"""Finds what is hard to read in code and documents: long sentences, odd phrases, variables without a noun."""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.deploy.tree import PACKAGES, PRODUCT, REPO, place, python

MOST_WORDS = 30
# What is odd → what to write. A phrase is looked for in docstrings, comments and texts for people.
BANNED = {
    r"\bcalm(ly)? (when|if|about|to)\b": "idempotent; no-op if",
    r"\b(to|from|for|by) who\b": "to a client, a worker, a process that",
    r"\btold\b": "reported, sent, asked; the parsed value",
    r"\bwhoever\b": "the worker, the caller, any process that",
    r"\bnobody's\b": "not in the database",
    r"\bsomebody else's luck\b": "another worker holds it",
    r"\bby (itself|himself|themselves) alone\b": "alone",
    r"\bsays? (itself|so) himself\b": "reports",
}
# Variables that could be anything. (`found` is a fine name of what a function collects and returns.)
NOUNLESS = frozenset({"one", "told"})
# A docstring that begins so says what a value means, and not what the function does.
_MEANS = re.compile(r"(The|An?|What|How|Where|Which|Whether|All|Every|One|Those|Its)\b")
_NOT_CALLED = re.compile(r"property|contextmanager|command|fixture|setter")
_NOTHING = frozenset({"", "None", "NoReturn"})
_ABBREVIATED = re.compile(r"\b(e\.g|i\.e|etc|vs)\.")
_CODE = re.compile(r"`[^`]+`")
_OPENS = re.compile(r"^\s*(?:(?:[-*]|\d+\.)\s+|#+ |\|)")
_COLUMNS = re.compile(r"\S {2,}\S")
# A sentence ends at a full stop, a colon, a question mark or a blank line; a list item ends one too.
_ENDS = re.compile(r"(?<=[.:?!])[\"')`]*\s+|\n\s*\n|\n\s*(?=[-*├└│]\s?)|\n\s*(?=\w+:\s)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence that is to be written anew."""

    path: str
    line: int
    why: str
    sentence: str

    @property
    def package(self) -> str:
        """The package it is in."""
        return self.path.partition("/")[0]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.why}: {self.sentence}"


def findings() -> Iterator[Finding]:
    """Yield the sentences to be written anew."""
    return _everywhere(of_source)


def openings() -> Iterator[Finding]:
    """Yield the docstrings that do not say what their function does."""
    return _everywhere(openings_of)


def names() -> Iterator[Finding]:
    """Yield the variables that need a noun."""
    return _everywhere(names_of)


def documents() -> Iterator[Finding]:
    """Yield the sentences of documents to be written anew. Decisions and changes are history."""
    paths = [*REPO.glob("*.md"), *REPO.glob("docs/*.md")]
    paths += [path for package in PACKAGES for path in (REPO / package).rglob("*.md")]
    for path in sorted(paths):
        if path.name != "CHANGELOG.md":
            yield from of_document(path.read_text(), place(path))


def of_document(text: str, path: str) -> Iterator[Finding]:
    """Yield what is to be written anew in one document. Code in it is no prose."""
    for number, part in _parts(text):
        for sentence in _ENDS.split(_ABBREVIATED.sub(r"\1", part)):
            words = len(sentence.split())
            if words > MOST_WORDS:
                yield Finding(path, number, f"{words} words; at most {MOST_WORDS}", sentence)
        yield from _banned(part, path, number)


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """Yield paragraphs, items and cells, each with the number of its first line."""
    found: list[str] = []
    begun, is_code = 1, False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        is_fence = line.startswith("```")
        if is_fence or not line.strip() or _OPENS.match(line):
            yield begun, _CODE.sub("code", " ".join(found))
            found, begun = [], number
        is_code = is_code is not is_fence
        if line.startswith("|"):
            yield from ((number, _CODE.sub("code", cell).strip()) for cell in line.split("|"))
        elif not is_code and not is_fence:
            found.append(_OPENS.sub("", line).strip())


def _banned(text: str, path: str, line: int) -> Iterator[Finding]:
    plain = " ".join(text.split())
    for banned, better in BANNED.items():
        for match in re.finditer(banned, plain):
            near = plain[max(0, match.start() - 40) : match.end() + 40]
            yield Finding(path, line, f"write: {better}", near)


def _everywhere(look: Callable[[str, str], Iterator[Finding]]) -> Iterator[Finding]:
    for path in python(*PRODUCT):
        if "migrations" not in path.parts:  # they are history
            yield from look(path.read_text(), place(path))


def openings_of(source: str, path: str) -> Iterator[Finding]:
    """Yield the functions of one module that return a value, and say only what it means."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _answers(node):
            text = ast.get_docstring(node) or ""
            if _MEANS.match(text):
                yield Finding(path, node.lineno, "begin with a verb (Return …)", text[:80])


def _answers(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a function is called for its value. Views and commands are not."""
    returned = ast.unparse(node.returns) if node.returns else ""
    if returned in _NOTHING or returned.startswith("HttpResponse"):
        return False
    return not any(_NOT_CALLED.search(ast.unparse(decorator)) for decorator in node.decorator_list)


def names_of(source: str, path: str) -> Iterator[Finding]:
    """Yield where one module binds a variable that could be anything; fields of classes are no variables."""
    tree = ast.parse(source)
    fields = {
        id(part)
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef)
        for statement in owner.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for part in ast.walk(statement)
    }
    for node in ast.walk(tree):
        is_bound = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        name = node.id if isinstance(node, ast.Name) and is_bound else getattr(node, "arg", "")
        if name in NOUNLESS and isinstance(node, ast.Name | ast.arg) and id(node) not in fields:
            yield Finding(path, node.lineno, "write the noun", name)


def of_source(source: str, path: str) -> Iterator[Finding]:
    """Yield what is to be written anew in one module."""
    tree = ast.parse(source)
    documented = _docstrings(tree)
    for line, text in documented:
        for sentence in sentences(text):
            words = len(sentence.split())
            if words > MOST_WORDS:
                yield Finding(path, line, f"{words} words; at most {MOST_WORDS}", sentence)
    texts = _texts(tree, {text for _, text in documented})
    for line, text in (*documented, *_comments(source), *texts):
        yield from _banned(text, path, line)


def sentences(text: str) -> list[str]:
    """The sentences of a docstring, without its code (indented blocks) and tables (columns)."""
    lines = [line for line in text.splitlines() if not line.startswith("    ")]
    prose = "\n".join("" if _COLUMNS.search(line) else line for line in lines)
    parts = _ENDS.split(_ABBREVIATED.sub(r"\1", prose))
    return [" ".join(part.split()) for part in parts if part.strip()]


def _docstrings(tree: ast.Module) -> list[tuple[int, str]]:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    texts = [(getattr(node, "lineno", 1), ast.get_docstring(node)) for node in nodes]
    return [(line, text) for line, text in texts if text]


def _comments(source: str) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


def _texts(tree: ast.Module, documented: set[str]) -> list[tuple[int, str]]:
    """Strings with at least three words, docstrings aside: errors, alarms, reasons, labels."""
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    texts = [(node.lineno, node.value) for node in constants if isinstance(node.value, str)]
    return [
        (line, text)
        for line, text in texts
        if len(text.split()) >= 3 and inspect.cleandoc(text) not in documented
    ]
