"""Images by reference from a real registry: no login, logins, TLS, and what a registry may do wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.config import ImageAccess
from runtime.errors import (
    HostError,
    ImageUnavailableError,
    ImageUnknownError,
    RuntimeCoreError,
    SpecInvalidError,
)
from runtime.image import ImageStore
from runtime.image.fetch import Fetcher
from runtime.image.reference import Reference, parse_reference
from tests.runtime.image.layouts import Entry, layer, sha256, write_layout
from tests.runtime.image.registries import PASSWORD, RegistryServer, missing

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(missing()), reason=missing() or "all is there"),
]
ROOT = Path(__file__).resolve().parents[3]
APP = Entry("bin/app", b"#!/bin/sh\n", mode=0o755)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("open"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """With login and TLS."""
    server = RegistryServer(tmp_path_factory.mktemp("closed"), has_login=True, has_tls=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


def pushed(registry: RegistryServer, tmp_path: Path, name: str, content: bytes = b"") -> str:
    """Push an image that nobody else has; returns its digest."""
    layout = tmp_path / "layout"
    note = Entry("note", content or os.urandom(16))
    digest = write_layout(layout, [layer(APP, note)], name=name.replace("/", "-"))
    registry.push(layout, name, source=name.replace("/", "-"))
    return digest


def pull(store: ImageStore, text: str, access: ImageAccess | None = None, name: str = "") -> str:
    return Fetcher(store, access or ImageAccess()).pull(parse_reference(text), name).digest


def left(tmp_path: Path) -> list[str]:
    return os.listdir(tmp_path / "store" / "work")  # noqa: PTH208 - names


def test_a_tag_is_resolved_once_and_its_digest_is_what_is_kept(
    registry: RegistryServer, store: ImageStore, tmp_path: Path
) -> None:
    digest = pushed(registry, tmp_path, "team/shop:1")
    reference = parse_reference(f"{registry.address}/team/shop:1")
    pinned = Fetcher(store, ImageAccess()).pull(reference)
    assert str(pinned) == f"{registry.address}/team/shop:1@{digest}"
    (image,) = store.list()
    assert (image.digest, image.name) == (digest, f"{registry.address}/team/shop:1")
    assert (store.rootfs(digest) / "bin/app").read_bytes() == b"#!/bin/sh\n"
    assert left(tmp_path) == []


def test_a_digest_is_taken_whatever_the_tag_has_become(
    registry: RegistryServer, store: ImageStore, tmp_path: Path
) -> None:
    first = pushed(registry, tmp_path, "moving:1", b"first")
    second = pushed(registry, tmp_path / "again", "moving:1", b"second")
    assert pull(store, f"{registry.address}/moving:1") == second
    assert pull(store, f"{registry.address}/moving:1@{first}") == first
    assert Fetcher(store, ImageAccess()).ensure(first, "").digest == first


def test_the_image_for_this_machine_is_chosen_from_a_list(
    registry: RegistryServer, store: ImageStore, tmp_path: Path
) -> None:
    layout = tmp_path / "layout"
    ours = write_layout(layout, [layer(APP, Entry("ours"))], name="ours")
    other = write_layout(layout, [layer(APP, Entry("other"))], name="other")
    index = as_index(layout, {ours: "amd64", other: "s390x"})
    registry.push(layout, "many:1")
    assert pull(store, f"{registry.address}/many:1") == ours
    # A host is told the image, not the list: what it holds is then named the same everywhere.
    with pytest.raises(ImageUnavailableError, match=f"is a list of images .* {ours}"):
        Fetcher(store, ImageAccess()).ensure(index, f"{registry.address}/many:1")
    as_index(layout, {other: "s390x"})
    registry.push(layout, "many:2")
    with pytest.raises(SpecInvalidError, match="offered for linux/s390x; this machine is linux/"):
        pull(store, f"{registry.address}/many:2")


def as_index(layout: Path, kinds: dict[str, str]) -> str:
    """Make the layout's one image an index of those it holds; returns the digest of the index."""
    file = layout / "index.json"
    kind = "application/vnd.oci.image"
    entries = [
        {
            "mediaType": f"{kind}.manifest.v1+json",
            "digest": digest,
            "size": (layout / "blobs/sha256" / digest[7:]).stat().st_size,
            "platform": {"os": "linux", "architecture": architecture},
        }
        for digest, architecture in kinds.items()
    ]
    index = {"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": entries}
    raw = json.dumps(index).encode()
    (layout / "blobs/sha256" / sha256(raw)[7:]).write_bytes(raw)
    entry = {"mediaType": f"{kind}.index.v1+json", "digest": sha256(raw), "size": len(raw)}
    file.write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return sha256(raw)


def test_an_image_in_docker_s_own_form_keeps_the_digest_the_registry_has_it_by(
    registry: RegistryServer, store: ImageStore, tmp_path: Path
) -> None:
    digest = write_layout(tmp_path / "layout", [layer(APP)], name="docker")
    registry.push(tmp_path / "layout", "docker:1", source="docker", kind="v2s2")
    found = pull(store, f"{registry.address}/docker:1")
    assert found != digest
    assert b"vnd.docker.distribution.manifest.v2+json" in registry.blob(found).read_bytes()
    assert (store.rootfs(found) / "bin/app").exists()


def test_beyond_this_machine_nothing_is_spoken_to_without_tls(
    registry: RegistryServer, store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed(registry, tmp_path, "plain:1")
    monkeypatch.setattr(Reference, "is_loopback", False)
    with pytest.raises(ImageUnavailableError, match="HTTP response to HTTPS client"):
        pull(store, f"{registry.address}/plain:1")


def test_a_registry_on_this_machine_that_speaks_tls_is_held_to_its_certificate(
    closed: RegistryServer, store: ImageStore
) -> None:
    with pytest.raises(ImageUnavailableError, match="certificate is not one this host believes"):
        pull(store, f"{closed.address}/any:1", ImageAccess(auth_file=closed.auth_file))


def test_logins_and_certificates_are_checked_and_the_password_is_never_shown(
    closed: RegistryServer, store: ImageStore, tmp_path: Path
) -> None:
    digest = pushed(closed, tmp_path, "secret:1")
    text = f"{closed.address}/secret:1"
    with pytest.raises(ImageUnavailableError, match="certificate is not one this host believes"):
        pull(store, text, ImageAccess(auth_file=closed.auth_file))
    with pytest.raises(ImageUnavailableError, match=r"does not let this host in; .* \(not set\)"):
        pull(store, text, ImageAccess(ca_dir=closed.ca_dir))
    wrong = closed.write_auth(tmp_path / "wrong.json", "wrong")
    with pytest.raises(ImageUnavailableError, match=r"does not let this host in; .*wrong\.json"):
        pull(store, text, ImageAccess(auth_file=wrong, ca_dir=closed.ca_dir))
    access = ImageAccess(auth_file=closed.auth_file, ca_dir=closed.ca_dir)
    assert pull(store, text, access) == digest
    with pytest.raises(ImageUnknownError) as caught:
        pull(store, f"{closed.address}/unknown:1", access)
    assert PASSWORD not in str(caught.value.details) + caught.value.message


def test_a_login_file_that_others_can_read_is_refused(tmp_path: Path, store: ImageStore) -> None:
    file = tmp_path / "auth.json"
    file.write_text("{}")
    file.chmod(0o644)
    with pytest.raises(HostError, match=r"has mode 0644; chmod 600"):
        pull(store, "127.0.0.1:1/shop:1", ImageAccess(auth_file=file))
    file.chmod(0o600)
    file.write_text("user:password")
    with pytest.raises(HostError, match="no docker-style auth file") as caught:
        pull(store, "127.0.0.1:1/shop:1", ImageAccess(auth_file=file))
    assert "user:password" not in caught.value.message


@pytest.mark.parametrize("name", ["nobody:1", "team/shop:none", "shop@sha256:" + "0" * 64])
def test_an_unknown_image_is_an_error_of_its_own(
    registry: RegistryServer, store: ImageStore, name: str
) -> None:
    with pytest.raises(ImageUnknownError, match="has no such image"):
        pull(store, f"{registry.address}/{name}")


def test_a_registry_that_is_away_may_be_asked_again(store: ImageStore) -> None:
    with pytest.raises(ImageUnavailableError, match="cannot be fetched") as caught:
        pull(store, "127.0.0.1:9/shop:1")
    assert caught.value.may_repeat


def test_a_blob_that_was_tampered_with_is_refused_and_nothing_is_left(
    registry: RegistryServer, store: ImageStore, tmp_path: Path
) -> None:
    digest = pushed(registry, tmp_path, "tampered:1")
    manifest = json.loads((tmp_path / "layout/blobs/sha256" / digest[7:]).read_text())
    blob = registry.blob(manifest["layers"][0]["digest"])
    content = blob.read_bytes()
    blob.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(RuntimeCoreError, match="not what the digest says"):
        pull(store, f"{registry.address}/tampered:1")
    assert store.list() == ()
    assert left(tmp_path) == []


def test_a_manifest_that_is_another_than_was_asked_for_is_refused(
    registry: RegistryServer, store: ImageStore, tmp_path: Path
) -> None:
    digest = pushed(registry, tmp_path, "swapped:1")
    file = registry.blob(digest)
    file.write_bytes(file.read_bytes().replace(b'"schemaVersion": 2', b'"schemaVersion":  2'))
    with pytest.raises(RuntimeCoreError):
        Fetcher(store, ImageAccess()).ensure(digest, f"{registry.address}/swapped:1")
    assert store.list() == ()


PULL = """
import sys
from pathlib import Path
from runtime.config import ImageAccess
from runtime.image import ImageStore
from runtime.image.fetch import Fetcher
from runtime.image.reference import Reference, parse_reference
print("ready", flush=True)
sys.stdin.readline()
print(Fetcher(ImageStore(Path(sys.argv[1])), ImageAccess()).pull(parse_reference(sys.argv[2])).digest)
"""


def pulling(tmp_path: Path, text: str) -> "subprocess.Popen[str]":
    """A process that is about to pull; it goes on when a line is written to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", PULL, str(tmp_path / "store"), text],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_that_want_one_image_fetch_each_blob_once(
    registry: RegistryServer, store: ImageStore, tmp_path: Path
) -> None:
    digest = pushed(registry, tmp_path, "shared:1", os.urandom(4_000_000))
    before = len(registry.fetched())
    both = [pulling(tmp_path, f"{registry.address}/shared:1") for _ in range(2)]
    for process in both:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[0].strip() for process in both] == [digest] * 2
    fetched = registry.fetched()[before:]
    assert len(fetched) == len(set(fetched)) == 2  # config and layer
    assert len(store.list()) == 1


def test_a_pull_that_is_killed_leaves_nothing_once_the_store_is_swept(
    registry: RegistryServer, store: ImageStore, tmp_path: Path
) -> None:
    digest = pushed(registry, tmp_path, "killed:1", os.urandom(60_000_000))
    process = pulling(tmp_path, f"{registry.address}/killed:1")
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while not (tmp_path / "store/work").is_dir() or not left(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    store.sweep()
    assert left(tmp_path) != []  # somebody works there
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert store.list() == ()
    while left(tmp_path):
        assert time.monotonic() < deadline, "what was left half done is still there"
        store.sweep()
        time.sleep(0.05)
    assert pull(store, f"{registry.address}/killed:1") == digest
