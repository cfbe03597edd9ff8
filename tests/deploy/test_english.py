"""People who read the product find short sentences and the field's terms. tests/deploy/english.py looks."""

from collections import Counter

import pytest

from tests.deploy import english

# How much of each package is still to be written anew. The numbers may only go down: who mends a sentence
# lowers its number, and a package without findings leaves the table.
TO_DO: dict[str, int] = {"controlplane": 8, "runtime": 24, "tenants": 16, "workers": 34}


@pytest.fixture(scope="module")
def found() -> list[english.Finding]:
    """Everything that is still to be written anew."""
    return list(english.findings())


def test_no_package_has_more_odd_sentences_than_it_had(found: list[english.Finding]) -> None:
    counted = Counter(finding.path.split("/")[0] for finding in found)
    for package, number in counted.items():
        most = TO_DO.get(package, 0)
        listed = "\n".join(
            f"{finding.path}:{finding.line}: {finding.why}: {finding.sentence}"
            for finding in found
            if finding.path.startswith(f"{package}/")
        )
        assert number <= most, f"{package} has {number} odd sentences, at most {most}:\n{listed}"


def test_what_is_done_leaves_the_table(found: list[english.Finding]) -> None:
    counted = Counter(finding.path.split("/")[0] for finding in found)
    assert {package for package in TO_DO if not counted[package]} == set()


@pytest.mark.parametrize(
    "source",
    [
        '"""Leave nothing; calm when repeated."""',
        "# calm about those that are not there",
        'raise ValueError("6 instances there are nobody\'s by the record")',
        'fail(f"the {thing} is told away")',
        f'"""{"word " * (english.MOST_WORDS + 1)}."""',
    ],
)
def test_an_odd_sentence_is_found(source: str) -> None:
    assert list(english.of_source(source, "a.py"))


@pytest.mark.parametrize(
    "source",
    [
        '"""Idempotent. No-op if there is none."""',
        f'"""{"word " * english.MOST_WORDS}\n\n{"word " * english.MOST_WORDS}"""',
        '"""One sentence ' + "of words " * 13 + "ends. Another " + "of words " * 13 + 'ends."""',
        '"""Takes one of:\n\n    ' + "a table of commands " * 20 + '\n\nIt ends.\n"""',
        'calm = "a calm flame"',
    ],
)
def test_a_plain_sentence_is_not(source: str) -> None:
    assert list(english.of_source(source, "a.py")) == []
