"""Not only the reference shop: any image that listens on $PORT is signed up and served the same way."""

import json
import os
import subprocess

import pytest

from tests.stoa import REPO, Stack

pytestmark = [pytest.mark.stack, pytest.mark.slow]


@pytest.mark.long
def test_another_image_is_released_signed_up_and_served_at_its_address(stack: Stack) -> None:
    cache = os.environ.get("STOA_CACHE", str(REPO / "var/cache"))
    build = [str(REPO / "images/build"), "--cache", cache, "--only", "hello"]
    said = subprocess.run(build, check=True, capture_output=True, text=True, timeout=300).stdout
    images = {image["name"]: image for image in map(json.loads, said.splitlines())}
    hello = images["hello"]
    # The host is given nothing: it fetches the image from the control plane when the shop is to start.
    stack.run("manage.py", "create_release", "hello", hello["layout"])
    assert hello["digest"] not in stack.run("python", "-m", "runtime", "images", "--json")

    signed_up = stack.sign_up("other-image", app="hello")

    assert stack.wait(signed_up["operation"]["id"])["state"] == "succeeded"
    answer = stack.get("other-image")
    assert answer.status_code == 200
    assert answer.text.startswith("Hello from other-image\n")
    assert "STOA_FIRST_LOGIN_HASH=sha256:" in answer.text

    told = stack.run("manage.py", "create_release", "hello", hello["digest"], "--prefetch")
    assert "release 1 is" in told
    assert "host local: has the image" in told
    stack.run(
        "manage.py", "shell", "-c", "from workers.reconcilers import images; images.collect()"
    )
    assert "would remove 0 images" in stack.run("python", "-m", "runtime", "image-gc", "--dry-run")
    assert hello["digest"] in stack.run("python", "-m", "runtime", "images", "--json")
