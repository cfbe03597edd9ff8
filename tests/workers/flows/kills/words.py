"""Whether what people are told of an operation is so, in both languages, once the shop is at rest.

A claim is what a sentence says of the shop: where its words are shown, it must be true. An end without
any claim is a fault too, so that new words are looked at here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from django.utils import translation

from tenants.http import labels
from tenants.operations.models import Operation
from tenants.states import OperationState


@dataclass(frozen=True, slots=True)
class Facts:
    """What is so. has_all: the data is all that visitors left; has_earlier: it is that of the copy asked
    for, and what was left since. was_at: the host before. copy: the id of the copy asked for.
    """

    runs: bool
    is_removed: bool
    at: str
    was_at: str
    has_all: bool
    has_earlier: bool
    copy: str
    was_cancelled: bool
    is_removal_asked: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """English and Japanese words, and when they are true."""

    english: str
    japanese: str
    is_so: Callable[[Facts], bool]


CLAIMS = (
    Claim("Your shop is open", "ショップが開店しました", lambda f: f.runs),
    Claim("could not be set up", "開設できませんでした", lambda f: not f.runs),
    Claim("set-up was stopped", "開設を中止しました", lambda f: not f.runs),
    Claim("is running again", "ショップが復旧しました", lambda f: f.runs and f.has_all),
    Claim("could not be started again", "再起動できませんでした", lambda f: f.has_all),
    Claim(
        "Starting again was stopped",
        "再起動を中止しました",
        lambda f: f.was_cancelled or f.is_removal_asked,
    ),
    Claim("Its data is safe", "データは無事です", lambda f: f.has_all),
    Claim("shop has moved", "移動が完了しました", lambda f: f.runs and f.at != f.was_at),
    Claim("could not be moved", "移動できませんでした", lambda f: f.at == f.was_at),
    Claim("move was stopped", "移動は中止されました", lambda f: f.at == f.was_at or f.is_removed),
    Claim("Your shop is where it was", "元の場所にあります", lambda f: f.runs and f.at == f.was_at),
    Claim("all its data are on the other", "移動先のマシンにあります", lambda f: f.at != f.was_at),
    Claim("No data is lost", "データは失われていません", lambda f: f.has_all and f.runs),
    Claim("has its earlier data back", "以前のデータに戻りました", lambda f: f.has_earlier),
    Claim("could not go back to earlier", "以前のデータに戻せません", lambda f: f.has_all),
    Claim("the data is as it was", "データは変わっていません", lambda f: f.has_all),
    Claim("Nothing was changed: your shop", "元のままです", lambda f: f.has_all),
    Claim("has the data it had before", "データは以前のまま", lambda f: f.has_all),
    Claim("has the earlier data now", "過去のデータに戻りました", lambda f: f.has_earlier),
    Claim("We do not know whether", "確認できません", lambda f: f.has_all or f.has_earlier),
    Claim("Going back was stopped", "中止", lambda f: f.was_cancelled or f.is_removal_asked),
    Claim("shop is back", "ショップが戻りました", lambda f: f.runs),
    Claim("could not be brought back", "復旧できていません", lambda f: True),
    Claim("Bringing it back was stopped", "復旧は中止されました", lambda f: True),
    Claim(
        "never open an empty shop", "空のショップを開くことはありません", lambda f: f.has_earlier
    ),
    Claim("has been removed", "ショップを削除しました", lambda f: f.is_removed),
    Claim("was stopped on request", "依頼により中止", lambda f: f.was_cancelled),
    Claim("a newer request replaced it", "あとから別の操作が", lambda f: f.is_removal_asked),
)
# The same of what operators read: the message, and why the operation ended as the journal says.
_OPERATORS: tuple[tuple[str, Callable[[Facts, str], bool]], ...] = (
    (r"the data is as it was before", lambda f, _: f.has_all),
    (r"the data is as in (snp_\w+)", lambda f, copy: f.has_earlier and f.copy == copy),
    (r"\bmoved to (\w+)", lambda f, host: f.at == host),
    (r"^removed$", lambda f, _: f.is_removed),
)


def lies(operation: Operation, reason: str, facts: Facts) -> list[str]:
    """Every sentence that is not so; reason: why it ended, from the journal."""
    shown = {language: _shown(operation, language) for language in ("en", "ja")}
    found, claims = [], 0
    for claim in CLAIMS:
        is_said = claim.english in shown["en"]
        claims += is_said
        if is_said and claim.japanese not in shown["ja"]:
            found.append(f"English says {claim.english!r}, Japanese {shown['ja']!r}")
        if is_said and not claim.is_so(facts):
            found.append(f"it is not so that {claim.english!r}")
    if not claims:
        found.append(f"nobody has said when this is so: {shown['en']!r}")
    for pattern, is_so in _OPERATORS:
        for match in re.finditer(pattern, f"{operation.error_message}\n{reason}", re.MULTILINE):
            if not is_so(facts, match[1] if match.groups() else ""):
                found.append(f"operators read {match[0]!r}, which is not so")
    return found


def _shown(operation: Operation, language: str) -> str:
    """What a member is shown of an operation that has ended."""
    verb, state, code = operation.verb, operation.state, operation.error_code
    with translation.override(language):
        told = [str(labels.headline(verb, state, code))]
        if code and state != OperationState.SUCCEEDED:
            told.append(str(labels.failure(verb, code, state, phase=operation.phase)))
    return " ".join(told)
