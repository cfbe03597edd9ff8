"""References are refused up front, by the part that is wrong."""

import pytest

from runtime.errors import SpecInvalidError
from runtime.image.reference import parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("registry.example/shop", "registry.example/shop:latest"),
        ("registry.example/team/shop:1.2", "registry.example/team/shop:1.2"),
        ("localhost/shop:1", "localhost/shop:1"),
        ("127.0.0.1:5000/a_b-c.d:V1", "127.0.0.1:5000/a_b-c.d:V1"),
        ("[::1]:5000/shop", "[::1]:5000/shop:latest"),
        (f"registry.example/shop@{DIGEST}", f"registry.example/shop@{DIGEST}"),
        (f"registry.example/shop:1@{DIGEST}", f"registry.example/shop@{DIGEST}"),
    ],
)
def test_a_reference_asks_for_its_digest_else_its_tag(text: str, wanted: str) -> None:
    reference = parse_reference(text)
    assert reference.wanted == wanted
    assert str(reference) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "begin with a registry"),
        ("shop", "begin with a registry"),
        ("team/shop:1", "begin with a registry"),
        ("docker://registry.example/shop", "leave out 'docker://'"),
        ("https://registry.example/shop", "leave out 'https://'"),
        ("registry.example/", "in its name"),
        ("registry.example/Shop", "'Shop' in its name must be small letters"),
        ("registry.example/a//b", "'' in its name"),
        ("registry.example/../b", "'..' in its name"),
        ("registry.example/shop:", "the tag ''"),
        ("registry.example/shop:a b", "the tag 'a b'"),
        ("registry.example/shop:1\n", "the tag"),
        ("registry.example/shop@sha256:12", "64 hexadecimal digits"),
        ("registry.example/shop@md5:" + "a" * 64, "64 hexadecimal digits"),
        ("reg istry.example/shop", "no host name"),
        ("user:secret@registry.example/shop", "after @"),
        ("--flag.example/shop", "no host name"),
        ("registry.example:x/shop", "no host name"),
        ("registry.example/" + "a" * 400, "at most 400"),
    ],
)
def test_what_is_no_reference_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(SpecInvalidError, match="image reference is") as caught:
        parse_reference(text)
    assert why in caught.value.message


@pytest.mark.parametrize(
    ("registry", "is_loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.8.9.1:5000", True),
        ("[::1]:5000", True),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("10.0.0.1:5000", False),
    ],
)
def test_only_this_machine_is_loopback(registry: str, is_loopback: bool) -> None:
    assert parse_reference(f"{registry}/shop").is_loopback is is_loopback


def test_a_pinned_reference_keeps_its_tag_for_people() -> None:
    assert str(parse_reference("registry.example/shop:1").pinned(DIGEST)) == (
        f"registry.example/shop:1@{DIGEST}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "joe:hunter2@registry.example/shop:1",
        "https://joe:hunter2@registry.example/shop:1",
        "joe:hunt@hunter2@registry.example/shop@sha256:" + "1" * 64,
        "joe:hunter2/x@registry.example/" + "a" * 400,
    ],
)
def test_a_login_in_a_reference_is_refused_and_never_shown(text: str) -> None:
    with pytest.raises(SpecInvalidError, match="image reference is '…@") as caught:
        parse_reference(text)
    assert "hunt" not in str(caught.value)
