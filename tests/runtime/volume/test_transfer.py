"""Why an archive could not be put or fetched is told by who keeps archives, and reaches who asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import TransferFailedError
from runtime.volume import transfer
from runtime.volume.transfer import ArchiveClient
from tests.runtime.shelves import Shelf, shelf


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setattr(transfer, "FIRST_PAUSE_SECONDS", 0.01)
    with shelf() as made:
        yield made


SAYINGS = [
    (
        503,
        b'{"detail": "the repository is not mounted: /srv has no .stoa-repository"}',
        "not mounted",
    ),
    (503, b'{"detail": "the repository is full: /srv takes nothing more"}', "is full"),
    (409, b'{"detail": "nobody waits for this archive"}', "nobody waits"),
    (507, b"<Error><Code>XMinioStorageFull</Code></Error>", "XMinioStorageFull"),
]


@pytest.mark.parametrize(("status", "said", "told"), SAYINGS, ids=lambda one: str(one)[:20])
def test_the_reason_comes_with_the_refusal(
    there: Shelf, tmp_path: Path, status: int, said: bytes, told: str
) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(b"x" * 1000)
    there.status, there.said = status, said
    with pytest.raises(TransferFailedError, match=told):
        ArchiveClient().put(there.address("snp_00000001"), archive, size=1000)
    with pytest.raises(TransferFailedError, match=told):
        ArchiveClient().get(there.address("snp_00000001"), tmp_path / "in", size=1, sha256="0" * 64)


@pytest.mark.parametrize("said", [b"", b"<html>", b"[1]", b'{"detail": 7}', b"\xff\xfe"])
def test_an_answer_without_a_reason_is_a_status(there: Shelf, tmp_path: Path, said: bytes) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(b"x")
    there.status, there.said = 403, said
    with pytest.raises(TransferFailedError, match="answered 403; the address may have run out"):
        ArchiveClient().put(there.address("snp_00000001"), archive, size=1)
