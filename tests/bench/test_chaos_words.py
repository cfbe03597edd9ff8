"""What the words about a restore allow, as the storm judges a shop's data by them."""

import pytest

from bench.parts.chaos_work import _as_told


@pytest.mark.parametrize(
    ("state", "code", "allowed"),
    [
        ("succeeded", "", {"older"}),
        ("failed", "left_older", {"older"}),
        ("failed", "left_unsure", {"older", "newer"}),
        ("failed", "host_unreachable", {"newer"}),
        ("cancelled", "cancelled", {"newer"}),
    ],
)
def test_a_shop_s_data_is_what_the_words_say(state: str, code: str, allowed: set[str]) -> None:
    ended = {"state": state, "error": {"code": code} if code else None}
    assert _as_told(ended, older={"older"}, newer={"newer"}) == allowed
