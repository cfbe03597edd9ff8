"""Archives in a store that speaks S3: a real server on loopback, hosts at presigned addresses.

The server is moto's, which bin/test installs; STOA_TEST_S3_SERVER names another program that is started so.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from minio import Minio
from pytest_django.fixtures import Settings

from runtime.errors import TransferFailedError
from runtime.volume.transfer import ArchiveClient
from tenants.snapshots.repositories import RepositoryError, StoredObject
from tenants.snapshots.repositories.s3 import S3Repository

KEY = "ten_0123456789abcdef/snp_0123456789abcdef"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = os.environ.get("STOA_TEST_S3_SERVER") or shutil.which("moto_server")
    if not program:
        pytest.skip("no moto_server: bin/test installs it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path_factory.mktemp("s3") / "log").open("wb")
    process = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert time.monotonic() < deadline, "the S3 server did not start"
            time.sleep(0.1)
    client = Minio(f"127.0.0.1:{port}", "key", "secret", secure=False, region="us-east-1")
    client.make_bucket("shops")
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)
    log.close()


@pytest.fixture
def repository(server: str, settings: Settings) -> S3Repository:
    secrets = Path(settings.STOA_SECRETS_DIR)
    (secrets / "s3-access-key").write_text("key\n")
    (secrets / "s3-secret-key").write_text("secret\n")
    settings.STOA_S3_ENDPOINT = server
    return S3Repository("s3://shops/stoa")


def test_a_host_puts_and_gets_by_addresses_and_holds_no_key(
    repository: S3Repository, tmp_path: Path
) -> None:
    archive, fetched = tmp_path / "archive", tmp_path / "fetched"
    content = os.urandom(300_000)
    archive.write_bytes(content)
    sha = hashlib.sha256(content).hexdigest()
    url = repository.put_address(KEY)
    assert "secret" not in url
    ArchiveClient().put(url, archive, size=len(content))
    assert repository.read_back(KEY) == StoredObject(len(content), sha)
    ArchiveClient().get(repository.get_address(KEY), fetched, size=len(content), sha256=sha)
    assert fetched.read_bytes() == content
    with pytest.raises(TransferFailedError, match="something else"):
        ArchiveClient().get(
            repository.get_address(KEY), fetched, size=len(content), sha256="0" * 64
        )


def test_what_is_removed_is_gone_and_removing_repeats(
    repository: S3Repository, tmp_path: Path
) -> None:
    (tmp_path / "archive").write_bytes(b"one")
    ArchiveClient().put(repository.put_address(KEY), tmp_path / "archive", size=3)
    repository.remove([KEY, KEY.replace("snp_0", "snp_1")])
    assert repository.read_back(KEY) is None
    repository.remove([KEY])


def test_a_store_that_is_away_or_lacks_the_bucket_is_told(
    repository: S3Repository, settings: Settings
) -> None:
    with pytest.raises(RepositoryError, match="NoSuchBucket"):  # not: all archives are missing
        S3Repository("s3://nobodys").read_back(KEY)
    settings.STOA_S3_ENDPOINT = "http://127.0.0.1:1"
    with pytest.raises(RepositoryError, match="cannot be read"):
        S3Repository("s3://shops").read_back(KEY)
