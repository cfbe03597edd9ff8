"""Signs up a demo shop as any program would, through the edge, and shows the title of its page.

Run by `bin/up --demo`. When the shop is there already, it is only looked at.
"""

import os
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx

from settings import common, inner

SLUG = "demo"
PLAN = "starter"
WAIT_SECONDS = 120.0


def main() -> int:
    """0 once the demo shop's page has been served with a title."""
    edge = f"http://127.0.0.1:{common.HTTP_PORT.of(os.environ)}"
    console = common.CONSOLE_HOST.of(os.environ)
    token = (inner.VAR.of(os.environ) / "operator-token").read_text().strip()
    headers = {"Host": console, "Authorization": f"Bearer {token}"}
    began = time.monotonic()
    with httpx.Client(base_url=edge, headers=headers, timeout=20, trust_env=False) as api:
        try:
            if not _is_running(api):
                for line in _sign_up(api):
                    print(f"  [{time.monotonic() - began:5.2f} s] {line}", flush=True)
            title = _title(edge)
        except (httpx.HTTPError, DemoError) as error:
            print(f"  {type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print(f"  {_address()} serves the page titled: {title}")
    return 0


class DemoError(Exception):
    """The platform answered, but not with a running shop."""


def _is_running(api: httpx.Client) -> bool:
    answer = api.get(f"/api/v1/tenants/{SLUG}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return False
    state = _body(answer)["state"]
    if state != "live":
        raise DemoError(
            f"the shop {SLUG} is there but its state is {state!r}; see the operator's pages"
        )
    print(f"  the shop {SLUG} is there already")
    return True


def _sign_up(api: httpx.Client) -> Iterator[str]:
    wanted = {
        "slug": SLUG,
        "shop_name": "Demo Shop",
        "email": "merchant@example.org",
        "plan": PLAN,
        "language": "en",
    }
    answer = api.post(
        "/api/v1/tenants", json=wanted, headers={"Idempotency-Key": f"demo-{time.time()}"}
    )
    body = _body(answer)
    shown: set[str] = set()
    deadline = time.monotonic() + WAIT_SECONDS
    operation = body["operation"]
    while True:
        for step in operation.get("steps", []):
            if step["state"] == "done" and step["name"] not in shown:
                shown.add(step["name"])
                yield f"{step['name']} {step.get('detail') or ''}".rstrip()
        if operation["state"] == "succeeded":
            return
        if operation["state"] in {"failed", "cancelled"} or time.monotonic() > deadline:
            raise DemoError(f"operation {operation['id']} is {operation['state']}: {operation}")
        time.sleep(0.1)
        operation = _body(api.get(f"/api/v1/operations/{body['operation']['id']}"))


def _body(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_error:
        raise DemoError(
            f"{answer.request.method} {answer.url.path}: {answer.status_code} {answer.text[:500]}"
        )
    body: dict[str, Any] = answer.json()
    return body


def _title(edge: str) -> str:
    host = f"{SLUG}.{common.DOMAIN.of(os.environ)}"
    answer = httpx.get(f"{edge}/", headers={"Host": host}, timeout=20, trust_env=False)
    found = re.search(r"<title>(.*?)</title>", answer.text, re.S)
    if answer.status_code != httpx.codes.OK or not found:
        raise DemoError(f"{host} answered {answer.status_code} without a title")
    return found[1].strip()


def _address() -> str:
    console = common.CONSOLE_HOST.of(os.environ)
    return inner.CONSOLE_URL.of(os.environ).replace(
        console, f"{SLUG}.{common.DOMAIN.of(os.environ)}", 1
    )


if __name__ == "__main__":
    sys.exit(main())
