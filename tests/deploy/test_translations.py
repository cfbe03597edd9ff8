"""Every sentence that pages mark for translation is in the Japanese catalogue, and says something there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from django.utils.translation.template import templatize

REPO = Path(__file__).resolve().parents[2]
CATALOGUE = REPO / "locale/ja/LC_MESSAGES/django.po"
_MARKS = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy"}
_IN_CONTEXT = {"pgettext", "pgettext_lazy", "npgettext"}
_CALL = re.compile(r"\bn?p?gettext\((?:[^()'\"]|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")*\)")
_PART = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
_ENTRY = re.compile(
    rf"^msgid {_PART}(?:msgid_plural {_PART})?msgstr(?:\[0\])? {_PART}", re.MULTILINE
)


def _text(quoted: str) -> str:
    return "".join(ast.literal_eval(part) for part in re.findall(r'"(?:[^"\\]|\\.)*"', quoted))


def _translated() -> set[str]:
    entries = _ENTRY.findall(CATALOGUE.read_text())
    return {_text(english) for english, _, japanese in entries if _text(japanese).strip()}


def _marked(source: str) -> Iterator[str]:
    """The sentences that a module or a templatized template marks."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            place = 0 if name in _MARKS else 1 if name in _IN_CONTEXT else None
            if place is not None and len(node.args) > place:
                sentence = node.args[place]
                if isinstance(sentence, ast.Constant) and isinstance(sentence.value, str):
                    yield sentence.value


def _sentences() -> dict[str, str]:
    """Each marked sentence, with one file that has it."""
    found: dict[str, str] = {}
    for folder in ("tenants", "controlplane"):
        for path in (REPO / folder).rglob("*.py"):
            found |= dict.fromkeys(_marked(path.read_text()), path.name)
        for path in (REPO / folder).rglob("*.html"):
            calls = "\n".join(_CALL.findall(templatize(path.read_text(), origin=path.name)))
            found |= dict.fromkeys(_marked(calls), path.name)
    return found


def test_every_marked_sentence_is_there_in_japanese() -> None:
    sentences, known = _sentences(), _translated()
    assert len(sentences) > 400
    assert {text: file for text, file in sentences.items() if text not in known} == {}


def test_a_marked_sentence_is_found_in_modules_and_templates() -> None:
    assert list(_marked('title = _("A" " title")\npgettext("context", "Word")')) == [
        "A title",
        "Word",
    ]
    template = templatize(
        '{% translate "One" %}{% blocktranslate %}Two {{ x }}{% endblocktranslate %}'
    )
    assert set(_marked("\n".join(_CALL.findall(template)))) == {"One", "Two %(x)s"}
