"""Not only the reference shop: any image that listens on $PORT is signed up and served the same way."""

import json
import os
import subprocess

import pytest

from tests.stoa import REPO, Stack

pytestmark = [pytest.mark.stack, pytest.mark.slow]


def test_another_image_is_released_signed_up_and_served_at_its_address(stack: Stack) -> None:
    cache = os.environ.get("STOA_CACHE", str(REPO / "var/cache"))
    build = [str(REPO / "images/build"), "--cache", cache, "--only", "hello"]
    said = subprocess.run(build, check=True, capture_output=True, text=True, timeout=300).stdout
    images = {image["name"]: image for image in map(json.loads, said.splitlines())}
    hello = images["hello"]
    stack.run("python", "-m", "runtime", "import-image", hello["layout"], "--name", "hello")
    stack.run("manage.py", "bootstrap", "--image", f"hello={hello['digest']}")

    signed_up = stack.sign_up("other-image", app="hello")

    assert stack.wait(signed_up["operation"]["id"])["state"] == "succeeded"
    answer = stack.get("other-image")
    assert answer.status_code == 200
    assert answer.text.startswith("Hello from other-image\n")
    assert "STOA_FIRST_LOGIN_HASH=sha256:" in answer.text
