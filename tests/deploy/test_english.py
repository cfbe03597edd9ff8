"""People who read the product find short sentences and the field's terms. tests/deploy/english.py looks."""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.deploy import english
from tests.deploy.english import Finding

# How much of each package is still to be written anew. The numbers may only go down: a change that mends a
# finding lowers its number, and a package without findings leaves the table.
TO_DO: dict[str, dict[str, int]] = {
    "sentences": {},
    "openings": {"images": 60},
    "documents": {},
    "names": {"images": 9},
}
LOOKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "sentences": english.findings,
    "openings": english.openings,
    "names": english.names,
    "documents": english.documents,
}


@pytest.fixture(scope="module", params=sorted(LOOKS))
def look(request: pytest.FixtureRequest) -> tuple[str, list[Finding]]:
    """What is looked for, and everything found."""
    return request.param, list(LOOKS[request.param]())


def test_no_package_has_more_findings_than_it_had(look: tuple[str, list[Finding]]) -> None:
    what, findings = look
    counted = Counter(finding.package for finding in findings)
    for package, number in counted.items():
        most = TO_DO[what].get(package, 0)
        listed = "\n".join(str(finding) for finding in findings if finding.package == package)
        assert number <= most, f"{package} has {number} odd {what}, at most {most}:\n{listed}"


def test_what_is_done_leaves_the_table(look: tuple[str, list[Finding]]) -> None:
    what, findings = look
    assert set(TO_DO[what]) - {finding.package for finding in findings} == set()


@pytest.mark.parametrize(
    "source",
    [
        '"""Leave nothing; calm when repeated."""',
        "# calm about those that are not there",
        '"""Give it to who asks."""',
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


@pytest.mark.parametrize(
    "source",
    [
        "def f() -> int:\n    'The number of hosts.'",
        "async def f() -> bool:\n    'Whether it runs.'",
        "class A:\n    def f(self) -> str:\n        'What it is called.'",
    ],
)
def test_a_function_that_says_only_what_its_value_means_is_found(source: str) -> None:
    assert len(list(english.openings_of(source, "a.py"))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "def f() -> int:\n    'Return the number of hosts.'",
        "def f() -> None:\n    'The way out.'",
        "class A:\n    @property\n    def f(self) -> str:\n        'The name.'",
        "@contextmanager\ndef f() -> Iterator[int]:\n    'A lock for as long as it is open.'",
    ],
)
def test_a_function_that_says_what_it_does_is_not(source: str) -> None:
    assert list(english.openings_of(source, "a.py")) == []


@pytest.mark.parametrize(
    "source",
    [
        "for one in hosts: pass",
        "[one for one in hosts]",
        "key=lambda one: one.name",
        "def f(told): pass",
        "for name, one in hosts: pass",
        "told = 1",
    ],
)
def test_a_variable_without_a_noun_is_found(source: str) -> None:
    assert list(english.names_of(source, "a.py"))


@pytest.mark.parametrize(
    "source",
    ["for host in hosts: pass", "found = []", "print(one)", "class A:\n    told = Field()"],
)
def test_a_noun_a_use_and_a_field_are_not(source: str) -> None:
    assert list(english.names_of(source, "a.py")) == []


@pytest.mark.parametrize(
    "text",
    [
        f"# A page\n\n- {'word ' * 16}\n  {'word ' * 16}\n",
        f"| cell | {'word ' * 31} |\n",
        "The owner is told why.\n",
    ],
)
def test_an_odd_sentence_of_a_document_is_found(text: str) -> None:
    assert len(list(english.of_document(text, "a.md"))) == 1


@pytest.mark.parametrize(
    "text",
    [
        f"- {'word ' * 16}\n- {'word ' * 16}\n",
        f"```\n{'word ' * 40}\n```\n",
        "`test_the_owner_is_told` shows it.\n",
        f"{'word ' * 20}\n\n{'word ' * 20}\n",
    ],
)
def test_lists_code_and_names_of_tests_are_not(text: str) -> None:
    assert list(english.of_document(text, "a.md")) == []
