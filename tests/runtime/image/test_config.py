"""What an image says is to be run."""

import pytest

from runtime.errors import SpecInvalidError
from runtime.image.config import ImageConfig, parse_config

PASSWD = "root:x:0:0::/:/bin/sh\nshop:x:100:101::/srv:/bin/false\n"
GROUP = "root:x:0:\nstaff:x:50:shop\n"


def parsed(**config: object) -> ImageConfig:
    return parse_config({"Cmd": ["run"], **config}, PASSWD, GROUP)


def test_entrypoint_comes_before_cmd() -> None:
    assert parsed(Entrypoint=["/init"]).argv == ("/init", "run")


def test_an_image_without_a_program_is_refused() -> None:
    with pytest.raises(SpecInvalidError, match="neither Entrypoint nor Cmd"):
        parse_config({}, "", "")


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("", (0, 0)),
        ("shop", (100, 101)),
        ("100", (100, 101)),
        ("4711", (4711, 0)),
        ("shop:staff", (100, 50)),
        ("shop:7", (100, 7)),
        ("4711:4712", (4711, 4712)),
    ],
)
def test_users_and_groups_are_names_or_numbers(user: str, ids: tuple[int, int]) -> None:
    found = parsed(User=user)
    assert (found.uid, found.gid) == ids


@pytest.mark.parametrize("user", ["nobody", "shop:wheel", "70000", "0:70000"])
def test_users_that_do_not_exist_or_fit_are_refused(user: str) -> None:
    with pytest.raises(SpecInvalidError, match="image runs as"):
        parsed(User=user)


def test_the_rest_is_taken_over_and_survives_its_file() -> None:
    found = parsed(
        Env=["A=1", "B=x=y", "C"],
        WorkingDir="/srv",
        StopSignal="SIGINT",
        Labels={"b": "2", "a": "1"},
    )
    assert found.env == (("A", "1"), ("B", "x=y"), ("C", ""))
    assert found.labels == (("a", "1"), ("b", "2"))
    assert (found.working_dir, found.stop_signal) == ("/srv", "SIGINT")
    import json

    assert ImageConfig.from_json(json.loads(json.dumps(found.to_json()))) == found
