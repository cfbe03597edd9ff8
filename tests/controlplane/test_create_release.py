"""`manage.py create_release`: a tag is resolved once; the release keeps what it was then."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from controlplane.depot import image_blobs
from tenants.catalogue.models import Release
from tests.runtime.image.layouts import Entry, layer, write_layout
from tests.runtime.image.registries import RegistryServer, missing

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    if missing():
        pytest.skip(missing())
    server = RegistryServer(tmp_path_factory.mktemp("registry"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def images(settings: Settings, tmp_path: Path) -> Path:
    settings.STOA_IMAGES = tmp_path / "images"
    return tmp_path / "images"


def create(*args: str) -> str:
    told = io.StringIO()
    call_command("create_release", *args, stdout=told)
    return told.getvalue()


def image(tmp_path: Path, content: bytes = b"x") -> tuple[Path, str]:
    layout = tmp_path / content.decode()
    return layout, write_layout(layout, [layer(Entry("bin/app", content))])


def test_a_tag_that_moves_changes_no_release(registry: RegistryServer, tmp_path: Path) -> None:
    reference = f"{registry.address}/team/app:1"
    layout, first = image(tmp_path, b"first")
    registry.push(layout, "team/app:1", source="app")
    assert f"release 1 is {first}" in create("app", reference, "--health-path", "/up", "--volume")
    release = Release.objects.get()
    assert (release.image_digest, release.image_source) == (first, f"{reference}@{first}")
    assert (release.image_name, release.health_path, release.has_volume) == (reference, "/up", True)
    layout, second = image(tmp_path, b"second")
    registry.push(layout, "team/app:1", source="app")
    release.refresh_from_db()
    assert release.image_digest == first
    assert f"release 2 is {second}" in create("app", reference, "--health-path", "/up", "--volume")
    assert f"release 2 is {second}" in create("app", reference, "--health-path", "/up", "--volume")
    with pytest.raises(CommandError, match="has no such image"):
        create("app", f"{registry.address}/team/app:none")


def test_a_layout_goes_onto_the_shelf_and_is_known_by_digest_then(
    tmp_path: Path, images: Path
) -> None:
    layout, digest = image(tmp_path)
    with pytest.raises(CommandError, match="give its OCI layout directory once"):
        create("app", digest)
    assert f"release 1 is {digest}, from the control plane" in create("app", str(layout))
    assert "release 1" in create("app", digest)
    assert image_blobs.has(images, digest)
    assert Release.objects.get().image_source == ""


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("App", "r.example/a"), "APP is 'App'"),
        (("app", "shop:1"), "must begin with a registry"),
        (("app", "r.example/a", "--port", "0"), "--port is 0"),
        (("app", "r.example/a", "--health-path", "up"), "--health-path is 'up'"),
    ],
)
def test_what_is_wrong_is_named(args: tuple[str, ...], why: str) -> None:
    with pytest.raises(CommandError) as caught:
        create(*args)
    assert why in str(caught.value)
    assert not Release.objects.exists()


def test_a_layout_with_a_blob_that_is_not_itself_is_not_put_on_the_shelf(
    tmp_path: Path, images: Path
) -> None:
    layout, digest = image(tmp_path)
    biggest = max((layout / "blobs/sha256").iterdir(), key=lambda blob: blob.stat().st_size)
    biggest.write_bytes(b"else")
    with pytest.raises(CommandError, match="has content sha256:"):
        create("app", str(layout))
    assert not image_blobs.has(images, digest)


def test_the_shelf_is_tidied_of_what_no_release_needs(tmp_path: Path, images: Path) -> None:
    import os

    kept, old, young = (
        image_blobs.put(images, image(tmp_path, content)[0])
        for content in (b"kept", b"old", b"young")
    )
    for digest in (kept, old):
        os.utime(images / digest[7:], (0, 0))
    assert image_blobs.tidy(images, {kept}) == 1
    assert [image_blobs.has(images, one) for one in (kept, old, young)] == [True, False, True]


def test_an_image_that_declares_volumes_has_them_kept(tmp_path: Path) -> None:
    layout = tmp_path / "keeps"
    config = {"Cmd": ["/bin/app"], "Volumes": {"/data": {}, "/var/lib/app": {}}}
    write_layout(layout, [layer(Entry("bin/app", b"x"))], config=config)
    assert "VOLUME /var/lib/app is kept in each tenant's volume" in create("keeps", str(layout))
    assert Release.objects.get().has_volume
    told = create("keeps", str(layout), "--no-volume")
    assert "warning: the image declares VOLUME /var/lib/app; what is written there is in no" in told
    assert not Release.objects.latest("number").has_volume


def test_a_registry_s_image_that_declares_volumes_has_them_kept(
    registry: RegistryServer, tmp_path: Path
) -> None:
    layout = tmp_path / "keeps"
    config = {"Cmd": ["/bin/app"], "Volumes": {"/var/lib/app": {}}}
    write_layout(layout, [layer(Entry("bin/app", b"x"))], config=config)
    registry.push(layout, "team/keeps:1", source="app")
    told = create("keeps", f"{registry.address}/team/keeps:1")
    assert "VOLUME /var/lib/app is kept in each tenant's volume" in told
    assert Release.objects.get().has_volume
