"""Finds sentences in docstrings and comments of the product that are too long or use odd phrases."""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

from tests.deploy.tree import PRODUCT, place, python

MOST_WORDS = 30
# What is odd → what to write. A phrase is looked for in docstrings, comments and texts for people.
BANNED = {
    r"\bcalm(ly)? (when|if|about)\b": "idempotent; no-op if",
    r"\btold\b": "reported, sent, asked; the parsed value",
    r"\bwhoever\b": "the worker, the caller, any process that",
    r"\bnobody's\b": "not in the database",
    r"\bsomebody else's luck\b": "another worker holds it",
    r"\bby (itself|himself|themselves) alone\b": "alone",
    r"\bsays? (itself|so) himself\b": "reports",
}
_ABBREVIATED = re.compile(r"\b(e\.g|i\.e|etc|vs)\.")
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


def findings() -> Iterator[Finding]:
    """Everything to be written anew in the product; migrations are history."""
    for path in python(*PRODUCT):
        if "migrations" not in path.parts:
            yield from of_source(path.read_text(), place(path))


def of_source(source: str, path: str) -> Iterator[Finding]:
    """What is to be written anew in one module."""
    tree = ast.parse(source)
    documented = _docstrings(tree)
    for line, text in documented:
        for sentence in sentences(text):
            words = len(sentence.split())
            if words > MOST_WORDS:
                yield Finding(path, line, f"{words} words; at most {MOST_WORDS}", sentence)
    texts = _texts(tree, {text for _, text in documented})
    for line, text in (*documented, *_comments(source), *texts):
        plain = " ".join(text.split())
        for banned, better in BANNED.items():
            for match in re.finditer(banned, plain):
                near = plain[max(0, match.start() - 40) : match.end() + 40]
                yield Finding(path, line, f"write: {better}", near)


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
