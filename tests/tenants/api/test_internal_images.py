"""Images go to hosts by digest, to nobody else, and only those that a release is made of."""

from pathlib import Path

import pytest
from django.http.response import HttpResponseBase
from django.test import Client
from pytest_django.fixtures import Settings

from controlplane.depot import image_blobs
from tenants.accounts import tokens
from tenants.catalogue.models import App, Release
from tests.factories import make_edge, make_host
from tests.runtime.image.layouts import Entry, layer, write_layout

pytestmark = [pytest.mark.django_db, pytest.mark.urls("controlplane.depot.urls")]
TOKEN = {"Authorization": "Bearer host-token"}


@pytest.fixture
def digest(db: None, settings: Settings, tmp_path: Path) -> str:
    """A release's image on the shelf, and a host."""
    settings.STOA_IMAGES = tmp_path / "images"
    write_layout(tmp_path / "layout", [layer(Entry("bin/app", b"x"))])
    digest = image_blobs.put(tmp_path / "images", tmp_path / "layout")
    Release.objects.create(
        app=App.objects.create(slug="a", name="A"), number=1, image_digest=digest, image_name="a"
    )
    make_host(token_sha256=tokens.sha256("host-token"))
    return digest


def body(answer: HttpResponseBase) -> bytes:
    return b"".join(answer.streaming_content)  # type: ignore[attr-defined]


def blobs(tmp_path: Path, digest: str) -> list[str]:
    place = tmp_path / "images" / digest[7:] / "blobs/sha256"
    return [f"sha256:{file.name}" for file in place.iterdir() if file.name != digest[7:]]


def test_a_host_gets_the_manifest_and_every_blob(
    client: Client, digest: str, tmp_path: Path
) -> None:
    answer = client.get(f"/internal/v1/images/{digest}/manifest", headers=TOKEN)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/octet-stream")
    assert b'"layers"' in body(answer)
    assert len(blobs(tmp_path, digest)) == 2
    for blob in blobs(tmp_path, digest):
        answer = client.get(f"/internal/v1/images/blobs/{blob}", headers=TOKEN)
        content = body(answer)
        assert answer.status_code == 200
        assert (
            content == (tmp_path / "images" / digest[7:] / "blobs/sha256" / blob[7:]).read_bytes()
        )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer edge-token"}, 401),
        ({"Authorization": "Basic host-token"}, 401),
        (TOKEN | {"X-Forwarded-For": "198.51.100.7"}, 404),
        (TOKEN | {"Forwarded": "for=198.51.100.7"}, 404),
    ],
)
def test_nobody_but_a_host_gets_anything(
    client: Client, digest: str, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    make_edge()
    for path in (f"{digest}/manifest", f"blobs/{blobs(tmp_path, digest)[0]}"):
        answer = client.get(f"/internal/v1/images/{path}", headers=headers)
        assert answer.status_code == status


def test_an_image_of_no_release_stays_here(client: Client, digest: str, tmp_path: Path) -> None:
    write_layout(tmp_path / "other", [layer(Entry("bin/other", b"y"))])
    other = image_blobs.put(tmp_path / "images", tmp_path / "other")
    for path in (f"{other}/manifest", *(f"blobs/{one}" for one in blobs(tmp_path, other))):
        assert client.get(f"/internal/v1/images/{path}", headers=TOKEN).status_code == 404


@pytest.mark.parametrize(
    "path", ["latest/manifest", "sha256:12/manifest", "blobs/..", "blobs/sha256:" + "0" * 64]
)
def test_what_is_no_digest_or_not_there_is_not_found(
    client: Client, digest: str, path: str
) -> None:
    assert client.get(f"/internal/v1/images/{path}", headers=TOKEN).status_code == 404
