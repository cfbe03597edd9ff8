"""What people are told of a failure is true of the verb, of the code, and of how far it had come."""

import re
from pathlib import Path

import pytest
from django.utils import translation

from runtime import errors as runtime_errors
from tenants import errors as tenants_errors
from tenants.http import labels
from tenants.states import OperationState, Verb
from workers.flows import errors as flow_errors

ROOT = Path(__file__).parents[3]


def _codes() -> set[str]:
    found = {"deadline", "superseded", "internal", flow_errors.LEFT_OLDER, flow_errors.LEFT_UNSURE}
    for module in (runtime_errors, tenants_errors, flow_errors):
        for one in vars(module).values():
            code = getattr(one, "code", None)
            if isinstance(one, type) and issubclass(one, Exception) and code:
                found.add(code)
    return found


PAIRS: list[tuple[Verb, str]] = [(verb, code) for verb in Verb for code in sorted(_codes())]
LEFT = {flow_errors.LEFT_OLDER, flow_errors.LEFT_UNSURE}

SET_UP: set[tuple[Verb, str]] = {(verb, code) for verb, code in PAIRS if verb == Verb.PROVISION}
BACK: set[tuple[Verb, str]] = {
    (verb, code) for verb, code in PAIRS if verb == Verb.RESTORE and code not in LEFT
}
MOVED: set[tuple[Verb, str]] = {(verb, code) for verb, code in PAIRS if verb == Verb.MOVE}
NEVER: set[tuple[Verb, str]] = set()

# A claim, and the pairs of which it is true. Whatever is not listed makes no such claim.
CLAIMS: dict[str, set[tuple[Verb, str]]] = {
    "charged|new shops|address is kept": SET_UP,
    "is ready": SET_UP,
    # Nobody knows when an operation fails whether the shop answers a moment later.
    "runs on|stays where": NEVER,
    "[Nn]othing was changed": NEVER,
    "because you asked": NEVER,
    "has the data it had before": BACK,
    "has the earlier data now": {(Verb.RESTORE, flow_errors.LEFT_OLDER)},
    "No data is lost": MOVED,
    "comes back with all its data": {(Verb.RECOVER, "no_copy")},
}


def _english(verb: str, code: str) -> str:
    with translation.override("en"):
        return str(labels.failure(verb, code))


@pytest.mark.parametrize("claim", CLAIMS)
def test_no_failure_claims_what_is_not_so(claim: str) -> None:
    made = {pair for pair in PAIRS if re.search(claim, _english(*pair))}
    assert made <= CLAIMS[claim]


def test_every_restore_that_fails_says_which_data_the_shop_has() -> None:
    assert "was not found" in _english(Verb.RESTORE, "data_missing")  # it has none
    for code in sorted(_codes() - {"superseded", "data_missing"}):
        told = _english(Verb.RESTORE, code)
        assert re.search("the data it had before|the earlier data", told), code


def test_the_headline_of_a_restore_says_no_other_data_than_the_sentence_below() -> None:
    def told(state: str, code: str) -> str:
        return str(labels.headline(Verb.RESTORE, state, code))

    with translation.override("en"):
        assert "as it was" in told(OperationState.CANCELLED, "cancelled")
        assert "as it was" not in told(OperationState.CANCELLED, "superseded")
        assert "earlier data, but" in told(OperationState.FAILED, flow_errors.LEFT_OLDER)
        assert "look at your shop" in told(OperationState.FAILED, flow_errors.LEFT_UNSURE)
        for code in sorted(_codes() - LEFT - {"cancelled", "superseded"}):
            assert "could not go back" in told(OperationState.FAILED, code), code


def test_while_an_operation_is_open_nothing_is_said_of_its_end() -> None:
    with translation.override("en"):
        for verb, code in PAIRS:
            told = str(labels.failure(verb, code, OperationState.PENDING))
            waits = told == str(labels.waiting(code))
            assert waits or re.search("We are trying again", told)
            assert not re.search(
                "has the (earlier )?data|charged|No data is lost|The (move|removal).* failed", told
            )


def test_every_sentence_is_there_in_japanese() -> None:
    known = _translations()
    for verb, code in PAIRS:
        for told in (
            _english(verb, code),
            str(labels.headline(verb, OperationState.FAILED, code)),
        ):
            assert known.get(told), f"{verb}, {code}: {told}"


def _translations() -> dict[str, str]:
    """The Japanese of each English sentence, as the source says it."""
    text = (ROOT / "locale/ja/LC_MESSAGES/django.po").read_text()
    found = {}
    part = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
    for english, japanese in re.findall(rf"^msgid {part}msgstr {part}", text, re.MULTILINE):
        joined = ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', one)) for one in (english, japanese)]
        found[joined[0]] = joined[1]
    return found
