"""Archives at the depot: put and fetched at signed addresses, and at nothing else."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from tenants.shops.models import Tenant
from tenants.snapshots.models import Snapshot
from tenants.snapshots.repositories import RepositoryError, StoredObject, addresses, directory
from tenants.snapshots.repositories.directory import MARK, DirectoryRepository
from tests.factories import make_shop

KEY = "ten_0123456789abcdef/snp_0123456789abcdef"


@pytest.fixture
def snapshot(db: None) -> Snapshot:
    """A snapshot that is being made under KEY."""
    tenant = make_shop().tenant
    tenant_id, _, public_id = KEY.partition("/")
    Tenant.objects.filter(pk=tenant.pk).update(public_id=tenant_id)
    tenant.refresh_from_db()
    return Snapshot.objects.create(tenant=tenant, public_id=public_id, reason="periodic")


@pytest.fixture
def depot(snapshot: Snapshot, settings: Settings, tmp_path: Path) -> Client:
    settings.ROOT_URLCONF = "controlplane.depot.urls"
    settings.STOA_SNAPSHOTS = str(tmp_path)
    (tmp_path / MARK).touch()
    settings.STOA_REPOSITORY_CLASS = "tenants.snapshots.repositories.directory.DirectoryRepository"
    return Client()


def put(depot: Client, url: str, body: bytes = b"archive") -> int:
    return depot.put(url, body, content_type="application/octet-stream").status_code


def test_an_archive_is_put_read_back_and_fetched(depot: Client, tmp_path: Path) -> None:
    repository = DirectoryRepository(str(tmp_path))
    assert put(depot, repository.put_address(KEY)) == 201
    found = repository.read_back(KEY)
    assert found
    assert (found.size, found.sha256) == (7, hashlib.sha256(b"archive").hexdigest())
    answer = depot.get(repository.get_address(KEY))
    assert b"".join(answer.streaming_content) == b"archive"  # type: ignore[attr-defined]
    assert put(depot, repository.put_address(KEY), b"archive, again") == 201
    assert [one.name for one in tmp_path.rglob(".*")] == [MARK]
    Snapshot.objects.update(state="failed")  # or kept: nobody waits for it any more
    assert put(depot, repository.put_address(KEY), b"something else") == 409
    assert repository.read_back(KEY)
    repository.remove([KEY, KEY])
    assert depot.get(repository.get_address(KEY)).status_code == 404


def test_an_address_opens_nothing_but_what_it_was_made_for(depot: Client) -> None:
    url = addresses.signed("PUT", KEY)
    other = url.replace("snp_0", "snp_1")
    assert put(depot, other) == 403
    assert depot.get(url).status_code == 403
    assert put(depot, addresses.signed("PUT", KEY, seconds=-1)) == 403
    assert put(depot, url.partition("?")[0]) == 403
    assert put(depot, addresses.signed("GET", KEY)) == 403
    assert depot.post(url).status_code == 405


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "ten_0123456789abcdef/..", "ten_0123456789abcdef/snp_../x", "a/b"]
)
def test_a_key_that_is_none_is_not_there_whatever_its_signature(depot: Client, key: str) -> None:
    assert put(depot, addresses.signed("PUT", key)) == 404


def test_what_came_through_the_public_edge_finds_nothing(depot: Client) -> None:
    url = addresses.signed("GET", KEY)
    assert depot.get(url, headers={"X-Forwarded-For": "203.0.113.1"}).status_code == 404


def test_a_store_that_speaks_s3_is_not_behind_the_depot(depot: Client, settings: Settings) -> None:
    settings.STOA_SNAPSHOTS = "s3://bucket"
    settings.STOA_S3_ENDPOINT = "http://127.0.0.1:1"
    settings.STOA_REPOSITORY_CLASS = "tenants.snapshots.repositories.s3.S3Repository"
    secrets = Path(settings.STOA_SECRETS_DIR)
    (secrets / "s3-access-key").write_text("key")
    (secrets / "s3-secret-key").write_text("secret")
    assert put(depot, addresses.signed("PUT", KEY)) == 404


def test_a_directory_that_is_not_mounted_is_no_repository(depot: Client, tmp_path: Path) -> None:
    (tmp_path / MARK).unlink()
    repository = DirectoryRepository(str(tmp_path))
    assert put(depot, repository.put_address(KEY)) == 503
    with pytest.raises(RepositoryError, match="mount what holds the repository"):
        repository.read_back(KEY)  # not: the archive is missing


def test_the_last_free_space_stays_free(
    depot: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = shutil.disk_usage(tmp_path).total
    monkeypatch.setattr(directory, "MOST_KEPT_FREE", total)
    nearly_full = type("Usage", (), {"total": total, "free": total // 20 + 3})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: nearly_full)
    url = DirectoryRepository(str(tmp_path)).put_address(KEY)
    answer = depot.put(url, b"archive", content_type="application/octet-stream")
    assert answer.status_code == 503
    assert "MiB free" in answer.json()["detail"]
    assert put(depot, url, b"abc") == 201


def test_what_broken_transfers_left_is_swept_and_what_runs_is_not(tmp_path: Path) -> None:
    repository = DirectoryRepository(str(tmp_path))
    left, busy, young = (tmp_path / "ten_a" / f".snp_{n}.part" for n in "123")
    left.parent.mkdir()
    for file in (left, busy, young):
        file.write_bytes(b"x")
    for file in (left, busy):
        os.utime(file, (1, 1))
    with directory._alone(busy):
        os.utime(busy, (1, 1))
        assert repository.sweep() == 1
    assert [file.exists() for file in (left, busy, young)] == [False, True, True]


def test_an_archive_larger_than_agreed_is_not_read(depot: Client, tmp_path: Path) -> None:
    repository = DirectoryRepository(str(tmp_path))
    assert put(depot, repository.put_address(KEY)) == 201
    assert repository.read_back(KEY, most=6) == StoredObject(7, "")
