"""Archives in a store that speaks S3. Hosts put and get them there themselves, by presigned addresses.

STOA_SNAPSHOTS=s3://<bucket>[/<prefix>], STOA_S3_ENDPOINT the store's address; the access key and its
secret are files of the secrets directory, which only the control plane reads.
"""

import hashlib
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import urllib3
from django.conf import settings
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error

from tenants.snapshots.repositories.protocol import (
    ADDRESS_SECONDS,
    MOST_BYTES,
    OWN,
    RepositoryError,
    StoredObject,
)

_PIECE = 1 << 18
_WAIT = urllib3.Timeout(connect=5, read=30)
_ADDRESS = timedelta(seconds=ADDRESS_SECONDS)


class S3Repository:
    """Implements Repository with one bucket."""

    def __init__(self, where: str) -> None:
        self._bucket, _, prefix = where.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        place = urlsplit(settings.STOA_S3_ENDPOINT)
        self._client = Minio(
            place.netloc,
            access_key=_secret("s3-access-key"),
            secret_key=_secret("s3-secret-key"),
            secure=place.scheme == "https",
            # Named, so that no address costs a question to the store first.
            region=settings.STOA_S3_REGION,
            http_client=urllib3.PoolManager(
                timeout=_WAIT, retries=urllib3.Retry(total=2, backoff_factor=0.2)
            ),
        )

    def put_address(self, key: str, *, most: int = MOST_BYTES) -> str:
        """See Repository. The store bounds no presigned PUT: read_back looks at what came."""
        return self._client.presigned_put_object(self._bucket, self._prefix + key, expires=_ADDRESS)

    def get_address(self, key: str) -> str:
        """See Repository."""
        return self._client.presigned_get_object(self._bucket, self._prefix + key, expires=_ADDRESS)

    def read_back(self, key: str, *, most: int = MOST_BYTES) -> StoredObject | None:
        """See Repository. The store's own checksum is not asked: it would be the store's word for it."""
        found, size = hashlib.sha256(), 0
        try:
            answer = self._client.get_object(self._bucket, self._prefix + key)
            try:
                is_this_large = int(answer.headers.get("Content-Length", 0))
                if is_this_large > most:
                    return StoredObject(is_this_large, "")
                for piece in answer.stream(_PIECE):
                    found.update(piece)
                    size += len(piece)
            finally:
                answer.close()
                answer.release_conn()
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise RepositoryError(f"bucket {self._bucket}: {error.code}") from error
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise RepositoryError(
                f"the repository is away: bucket {self._bucket} cannot be read: {error}"
            ) from error
        return StoredObject(size, found.hexdigest())

    def keep_file(self, name: str, path: Path) -> None:
        """See Repository."""
        try:
            self._client.fput_object(self._bucket, f"{self._prefix}{OWN}/{name}", str(path))
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise RepositoryError(f"bucket {self._bucket} cannot be written: {error}") from error

    def remove(self, keys: Collection[str]) -> None:
        """See Repository."""
        doomed = [DeleteObject(self._prefix + key) for key in keys]
        try:
            failed = list(self._client.remove_objects(self._bucket, doomed))
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise RepositoryError(
                f"the repository is away: bucket {self._bucket} cannot be written: {error}"
            ) from error
        if failed:
            raise RepositoryError(f"bucket {self._bucket}: {failed[0].code} for {failed[0].name}")


def _secret(name: str) -> str:
    file = Path(settings.STOA_SECRETS_DIR) / name
    try:
        return file.read_text().strip()
    except OSError as error:
        raise RepositoryError(
            f"{file} cannot be read ({error.strerror}); write it there"
        ) from error
