"""Every address of console, sign-up, operator's pages and API, given what no text is: never a 500."""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tenants.accounts.models import Member
from tests.pages.conftest import Cast, make_shop

Browser = Callable[[Member | None], Client]

FORM = "application/x-www-form-urlencoded"
BAD = ("a%00b", "%FF%FE", "%ED%A0%80", "a%C3", "%1B%5B2J")
ODD = ("a" * 7000, "99999999999999999999", "-1", "%F0%9F%9B%8D", "'--", "%25s%7B%7D", "", "1e999")
BAD_TEXTS = ("a\x00b", "\ud800", "\x1b[2J")
ODD_TEXTS = ("a" * 7000, "9" * 40, "🛍", "'--", "%s{}", "")
JSON_VALUES: tuple[Any, ...] = (None, [], {}, [[[]]], 10**30, -1, 1e308, True, "x")
FIELDS = (
    *(
        "email",
        "password",
        "slug",
        "shop_name",
        "plan",
        "language",
        "form_token",
        "next",
        "typed",
        "name",
    ),
    *(
        "labels",
        "zone",
        "reserve",
        "cpu",
        "memory",
        "disk",
        "reason",
        "kind",
        "state",
        "q",
        "after",
        "outcome",
    ),
    *(
        "cursor",
        "page_size",
        "host",
        "to",
        "on",
        "app",
        "snapshot",
        "lifetime",
        "open",
        "mode",
        "id",
    ),
)
BAD_PATHS = ("%00", "%FF", "%ED%A0%80", "x" * 7000, "%0A")
HEADERS = (
    *("HTTP_ACCEPT_LANGUAGE", "HTTP_AUTHORIZATION", "HTTP_X_REQUEST_ID", "HTTP_IDEMPOTENCY_KEY"),
    *("CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_HOST", "HTTP_X_FORWARDED_FOR", "HTTP_HX_REQUEST"),
    *("HTTP_REFERER", "HTTP_ORIGIN"),
)
LISTS = ("tenants", "tenants/acme/events", "tenants/acme/decisions")
SAMPLES = {
    "slug": "acme",
    "name": "local",
    "public_id": "",
    "snapshot_id": "snp_0",
    "key_id": "abc",
}


def addresses(public_id: str) -> Iterator[str]:
    """One path for each pattern."""

    def walk(patterns: list[URLPattern | URLResolver], before: str) -> Iterator[str]:
        for one in patterns:
            told = before + str(one.pattern)
            if isinstance(one, URLResolver):
                yield from walk(one.url_patterns, told)
                continue
            for name, converter in one.pattern.converters.items():
                shown = [part for part in told.split("<") if part.split(">")[0].endswith(name)]
                value = SAMPLES.get(name, "1") or public_id
                told = told.replace(f"<{shown[0].split('>')[0]}>", value)
                assert converter
            yield "/" + told

    yield from walk(get_resolver().url_patterns, "")


@pytest.fixture
def clients(page: Browser, cast: Cast) -> list[Client]:
    make_shop(cast.alice, "acme")
    found = [page(None), page(cast.alice), page(cast.olga)]
    for client in found:
        client.raise_request_exception = False
    return found


def all_addresses(cast: Cast) -> list[str]:
    from tenants.operations.models import Operation

    found = [*addresses(Operation.objects.first().public_id)]  # type: ignore[union-attr]
    assert len(found) > 50
    return [path for path in found if path != "/readyz"]  # no Redis here: 503 by right


def rotated(values: Sequence[Any], turns: int) -> Iterator[dict[str, Any]]:
    """Each field with some value, so often with another one."""
    for turn in range(turns):
        yield {name: values[(at + turn) % len(values)] for at, name in enumerate(FIELDS)}


def test_bad_values_in_query_and_form_are_refused_by_name(
    clients: list[Client], cast: Cast
) -> None:
    # Refused before any address is looked at: each gets one of them, every fifth gets all.
    tried = [
        (path, value)
        for at, path in enumerate(all_addresses(cast))
        for value in (BAD if at % 5 == 0 else BAD[at % 5 :][:1])
    ]
    for path, value in tried:
        query = f"page=1&email={value}"
        answers = [clients[0].get(f"{path}?{query}")]
        if not path.startswith("/api/"):
            answers.append(clients[0].post(path, query, content_type=FORM))
        for answer in answers:
            assert answer.status_code == 400, (path, value)
            assert "email" in answer.content.decode()


def test_odd_values_in_query_and_form_break_nothing(clients: list[Client], cast: Cast) -> None:
    # Values that the member does not try, the operator does.
    kinds = [*zip(clients[1:], rotated(ODD, 2), strict=True)]
    for path, (client, fields) in itertools.product(all_addresses(cast), kinds):
        query = "&".join(f"{name}={value}" for name, value in fields.items())
        for answer in (client.get(f"{path}?{query}"), client.post(path, query, content_type=FORM)):
            assert answer.status_code < 500, (path, query, answer.status_code)


def test_bad_and_odd_json_is_refused_by_name_or_taken(clients: list[Client], cast: Cast) -> None:
    bodies = [json.dumps(fields) for fields in rotated((*ODD_TEXTS, *JSON_VALUES), 2)]
    bodies += [json.dumps(dict.fromkeys(FIELDS, text)) for text in BAD_TEXTS]
    bodies += ["", "[]", "null", "\x00", "9" * 5000, "[" * 9000, '{"slug": NaN}', "{"]
    paths = [path for path in all_addresses(cast) if path.startswith("/api/v1")]
    for path, body in itertools.product(paths, bodies):
        answer = clients[2].post(path, body, content_type="application/json")
        assert answer.status_code < 500 or answer.status_code == 503, (path, body[:60])
    for text in BAD_TEXTS:
        given = {"slug": "fine", "shop_name": text, "email": "a@example.com"}
        answer = clients[2].post("/api/v1/tenants", given, content_type="application/json")
        assert answer.status_code == 400
        assert [one["field"] for one in answer.json()["errors"]] == ["shop_name"]


def test_bad_paths_are_refused(clients: list[Client]) -> None:
    befores = ("/shops/", "/operations/", "/api/v1/tenants/", "/operator/tenants/", "/static/")
    for before, bad, after in itertools.product(befores, BAD_PATHS, ("", "/", "/steps/")):
        answer = clients[2].generic("GET", f"{before}{bad}{after}")
        assert answer.status_code < 500, (before, bad, after)


def test_bad_cookies_are_refused_or_no_cookies(clients: list[Client]) -> None:
    names = ("SESSION", "CSRF", "LANGUAGE", "STOA_BROWSER")
    values = (r'"a\000b"', "\xff\xfe", '"', "a" * 7000, r'"\355\240\200"')
    paths = ("/", "/login/", "/shops/", "/api/v1/tenants")
    for name, value, path in itertools.product(names, values, paths):
        cookie = f"{getattr(settings, f'{name}_COOKIE_NAME')}={value}"
        for method in ("GET", "POST"):
            answer = clients[0].generic(
                method, path, "email=x", content_type=FORM, HTTP_COOKIE=cookie
            )
            assert answer.status_code < 500, (path, cookie)


def test_bad_headers_are_refused_or_ignored(clients: list[Client]) -> None:
    values = ("\xff\xfe", "\x7f", "a" * 7000, "9" * 5000, "", "-1", "utf-7")
    for name, value, path in itertools.product(HEADERS, values, ("/login/", "/api/v1/tenants")):
        given: dict[str, Any] = {name: value}
        answer = clients[1].generic("POST", path, b"email=x", **given)
        assert answer.status_code < 500, (name, value, path)


def test_a_body_in_another_alphabet_cannot_bring_what_utf_8_may_not(clients: list[Client]) -> None:
    answer = clients[0].post(
        "/login/", b"email=a+AAA-b&password=x", content_type=f"{FORM}; charset=utf-7"
    )
    assert answer.status_code == 415


def test_files_and_large_bodies_are_refused_before_they_are_read(page: Browser, cast: Cast) -> None:
    class Refused:
        """A body that must not be read."""

        def read(self, *_: int) -> bytes:
            raise AssertionError("the body was read")

        readline = read

    unread: dict[str, Any] = {"wsgi.input": Refused(), "CONTENT_LENGTH": "65537"}
    browser = Client(enforce_csrf_checks=True)
    browser.cookies[settings.CSRF_COOKIE_NAME] = "a" * 32
    for path in ("/login/", "/signup/", "/api/v1/tenants", "/i18n/setlang/", "/nothing/"):
        answer = browser.generic("POST", path, b"x", content_type=FORM, **unread)
        assert answer.status_code == 413
    files = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n--b--\r\n'
    answer = browser.post("/login/", files, content_type="multipart/form-data; boundary=b")
    assert answer.status_code == 415
    assert "without files" in answer.content.decode()
    answer = browser.post("/login/", b"{}", content_type="application/json")
    assert answer.status_code == 415
    japanese = browser.post("/login/", files, content_type="multipart/form-data; boundary=b",
                            headers={"Accept-Language": "ja"})  # fmt: skip
    assert 'lang="ja"' in japanese.content.decode()


def test_what_a_list_is_not_asked_by_is_named(clients: list[Client]) -> None:
    cursors = (
        "x",
        "MTIz",
        "cD1nYXJiYWdl",
        "bz05OTk5OTk5",
        "r%3D1%26p%3D2026-01-01",
        "%F0%9F%9B%8D",
    )
    queries = [f"cursor={one}" for one in cursors]
    queries += ["page_size=0", "page_size=201", "page_size=x", "page_size=", "limit=5", "offset=1"]
    for path, query in itertools.product(LISTS, queries):
        name = query.partition("=")[0]
        answer = clients[2].get(f"/api/v1/{path}?{query}")
        assert answer.status_code == 422, (path, query)
        assert [one["field"] for one in answer.json()["errors"]] == [name]
