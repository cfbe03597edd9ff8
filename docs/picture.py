"""Takes the README's picture: the operator's first page of a running Stoa with three hosts.

    bin/up --hosts 3
    bin/stoa-env python docs/picture.py        writes docs/operator.png

It signs up shops, moves some to the other hosts, and leaves them. Use a Stoa that you can purge afterwards.
"""

import os
import time
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

_SHOPS = (
    ("heron", "Blue Heron Books"),
    ("olive", "Olive & Thyme"),
    ("kettle", "The Copper Kettle"),
    ("sakura", "Sakura Paper"),
    ("lantern", "Lantern Street"),
    ("harbour", "Harbour Bikes"),
    ("juniper", "Juniper Garden"),
    ("clay", "Clay and Fire"),
)
# Small shops are packed onto one host; these three leave it, so that the picture shows moves too.
_MOVES = (("olive", "host3"), ("harbour", "host3"), ("clay", "local"))
_FILE = Path(__file__).with_name("operator.png")
_WIDTH = 1440
_OPEN_SECONDS = 60
# Figures of the hosts come every few seconds, those of shops a little later.
_SETTLE_MS = 30_000


def main() -> None:
    """Sign the shops up, wait until they run, move three, and take the picture."""
    var = Path(os.environ["STOA_VAR"])
    console = os.environ["STOA_CONSOLE_URL"]
    token = (var / "operator-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    api = httpx.Client(base_url=f"{console}/api/v1", headers=headers, timeout=30, trust_env=False)
    for slug, shop_name in _SHOPS:
        email = f"{slug}@example.com"
        wanted = {"slug": slug, "shop_name": shop_name, "email": email, "plan": "starter"}
        _carry_out(api, "/tenants", wanted)
    for slug, host in _MOVES:
        _carry_out(api, f"/tenants/{slug}/move", {"to": host})
    login = dict(line.split(": ", 1) for line in (var / "operator-login").read_text().splitlines())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": _WIDTH, "height": 900}, locale="en-GB")
        page.goto(f"{console}/operator/")
        page.fill("#email", login["email"])
        page.fill("#password", login["password"])
        page.click("main button[type=submit], main button[data-once]")
        page.wait_for_url("**/operator/")
        page.wait_for_timeout(_SETTLE_MS)
        bottom = page.locator("main .hosts").bounding_box()
        height = bottom["y"] + bottom["height"] + 24 if bottom else 900
        page.screenshot(path=_FILE, clip={"x": 0, "y": 0, "width": _WIDTH, "height": height})
        browser.close()
    print(f"{_FILE}: {_FILE.stat().st_size // 1024} kB")


def _carry_out(api: httpx.Client, path: str, body: object) -> None:
    """Post a request and wait until its operation has succeeded; ends the program if it fails."""
    posted = api.post(path, json=body).raise_for_status().json()
    operation = f"/operations/{posted.get('operation', posted)['id']}"
    until = time.monotonic() + _OPEN_SECONDS
    while (state := api.get(operation).raise_for_status().json()["state"]) != "succeeded":
        if state in ("failed", "cancelled") or time.monotonic() > until:
            raise SystemExit(f"POST {path}: its operation is {state}")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
