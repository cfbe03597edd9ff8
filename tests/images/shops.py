"""Runs the reference shop as a program of its own, and visits it as a browser would."""

import hashlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

MAIN = Path(__file__).resolve().parents[2] / "images/shop/main.py"
SECRET = "correct-horse-battery-staple"
PASSWORD = "a calm walk by the sea"
SALT = bytes(range(16))
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


def login_hash(secret: str = SECRET) -> str:
    return f"sha256:{SALT.hex()}:{hashlib.sha256(SALT + secret.encode()).hexdigest()}"


class Shop:
    """A running shop: its process, its port, its data."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        environ = {
            "PORT": "0",
            "STOA_TENANT": "acme",
            "STOA_SHOP_NAME": "Acme <& Söhne>",
            "STOA_FIRST_LOGIN_HASH": login_hash(),
            "STOA_DATA": str(data),
            **settings,
        }
        self.process = subprocess.Popen(
            [PYTHON, "-I", "-S", "-B", str(MAIN)],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline().decode()
        if not first:
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read().decode())
        self.port = int(first.rsplit(" ", 1)[1])

    def stop(self) -> tuple[int, str, str]:
        """TERM; the exit code, what it logged and what it complained about."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=15)
        return self.process.returncode, out.decode(), err.decode()

    def private_kilobytes(self) -> int:
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return sum(int(kb) for kb in re.findall(r"^Private_Dirty:\s+(\d+)", rollup, re.M))

    def raw(self, data: bytes) -> bytes:
        """What comes back for bytes sent as they are, until the shop closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=15) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def running(data: Path, **settings: str) -> Iterator[Shop]:
    shop = Shop(data, **settings)
    try:
        yield shop
    finally:
        if shop.process.poll() is None:
            shop.process.kill()
        shop.process.communicate()


class Page:
    """An answer: status, headers, text."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.text = answer.read().decode()

    @property
    def location(self) -> str:
        return self.headers["Location"] or ""

    def hidden(self, name: str) -> str:
        found = re.search(f'name="{name}" value="([^"]*)"', self.text)
        assert found, f"no hidden field {name} in: {self.text[:400]}"
        return found.group(1)


class Browser:
    """A visitor with cookies of their own, behind a proxy that names their address."""

    def __init__(self, shop: Shop, **headers: str) -> None:
        self._shop = shop
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.cookies: dict[str, str] = {}

    def get(self, path: str, method: str = "GET") -> Page:
        return self._ask(method, path, None, {})

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Page:
        extra = {"Content-Type": "application/x-www-form-urlencoded"}
        extra.update({name.replace("_", "-"): value for name, value in headers.items()})
        return self._ask("POST", path, urlencode(fields), extra)

    def submit(self, page: Page, path: str, **fields: str) -> Page:
        """Post a form with the ticket that its page carries."""
        return self.post(path, {"ticket": page.hidden("ticket"), **fields})

    def follow(self, page: Page) -> Page:
        assert page.status == 303, page.text
        return self.get(page.location)

    def log_in(self, secret: str = SECRET) -> Page:
        return self.submit(self.get("/admin/login"), "/admin/login", secret=secret)

    def log_in_and_choose_password(self) -> Page:
        assert self.log_in().status == 303
        return self.choose_password()

    def choose_password(self) -> Page:
        form = self.get("/admin/password")
        return self.follow(self.submit(form, "/admin/password", new=PASSWORD, again=PASSWORD))

    def fill_cart(self, product: int, quantity: int) -> Page:
        page = self.get(f"/products/{product}")
        return self.submit(page, "/cart", do="add", product=str(product), quantity=str(quantity))

    def order(self, **fields: str) -> Page:
        buyer = {"name": "Ada", "email": "ada@example.com", "address": "12 Harbour Street\nLondon"}
        form = self.get("/checkout")
        return self.submit(form, "/checkout", **{"try": form.hidden("try"), **buyer, **fields})

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Page:
        connection = http.client.HTTPConnection("127.0.0.1", self._shop.port, timeout=15)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {**self._headers, **headers, **({"Cookie": cookie} if cookie else {})}
        connection.request(method, path, body, sent)
        page = Page(connection.getresponse())
        connection.close()
        for line in page.headers.get_all("Set-Cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return page


def disk_bytes(folder: Path) -> int:
    """What a folder takes on disk, itself included."""
    return sum(os.lstat(path).st_blocks * 512 for path in (folder, *folder.rglob("*")))
