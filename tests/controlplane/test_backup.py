"""A backup is whole or refused, opens for its passphrase alone, and is never taken by an older Stoa."""

import json
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from typer.testing import CliRunner

from controlplane.backup import archive, restore
from controlplane.backup.archive import BackupError, BackupManifest
from controlplane.cli.app import app

PASSPHRASE = "correct horse battery"
ABOUT = BackupManifest(
    "2026-01-01T00:00:00+00:00", "stoa", "localhost", "http://localhost", ("tenants.0001_initial",)
)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    record = tmp_path / "dump"
    record.write_bytes(b"the record" * 100_000)
    sealed = archive.seal(b"the secrets", PASSPHRASE)
    path = tmp_path / "backup.stoa"
    archive.write(path, ABOUT, record=record, sealed=sealed)
    return path


def test_what_was_written_is_read(made: Path, tmp_path: Path) -> None:
    manifest, sealed = archive.read(made, tmp_path / "out")
    assert manifest.made_at == ABOUT.made_at
    assert (tmp_path / "out").read_bytes() == b"the record" * 100_000
    assert archive.unseal(sealed, PASSPHRASE) == b"the secrets"


def test_nobody_else_reads_the_file_and_nothing_else_is_left(made: Path, tmp_path: Path) -> None:
    assert made.stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in tmp_path.iterdir()) == ["backup.stoa", "dump"]
    assert b"the secrets" not in made.read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_was_cut_is_refused(made: Path, tmp_path: Path, share: float) -> None:
    content = made.read_bytes()
    made.write_bytes(content[: int(len(content) * share * 0.98)])
    with pytest.raises(BackupError):
        archive.read(made, tmp_path / "out")


@pytest.mark.parametrize("part", [archive.RECORD, archive.SECRETS])
def test_a_bit_that_is_wrong_is_found(made: Path, tmp_path: Path, part: str) -> None:
    with tarfile.open(made) as tar:
        at = tar.getmember(part).offset_data + 5
    content = bytearray(made.read_bytes())
    content[at] ^= 1
    made.write_bytes(content)
    with pytest.raises(BackupError, match=part):
        archive.read(made, tmp_path / "out")


def test_another_passphrase_or_another_bit_opens_nothing() -> None:
    sealed = archive.seal(b"the secrets", PASSPHRASE)
    with pytest.raises(BackupError, match="passphrase"):
        archive.unseal(sealed, PASSPHRASE + "!")
    for place in (0, 20, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(BackupError):
            archive.unseal(bytes(changed), PASSPHRASE)
    with pytest.raises(BackupError, match="at least 12"):
        archive.seal(b"x", "short")


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other"
    with tarfile.open(path, "w") as tar:
        content = json.dumps({"format": 2}).encode()
        member = tarfile.TarInfo(archive.MANIFEST)
        member.size = len(content)
        tar.addfile(member, BytesIO(content))
    with pytest.raises(BackupError, match="format 2"):
        archive.read(path, tmp_path / "out")


def test_files_come_back_with_their_modes(tmp_path: Path) -> None:
    for name, mode in (("a-key", 0o600), ("a.crt", 0o644)):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(mode)
    packed = archive.pack({f"secrets/{name}": tmp_path / name for name in ("a-key", "a.crt")})
    archive.unpack(packed, tmp_path / "into")
    found = {one.name: one.stat().st_mode & 0o777 for one in (tmp_path / "into/secrets").iterdir()}
    assert found == {"a-key": 0o600, "a.crt": 0o644}
    assert (tmp_path / "into/secrets/a-key").read_text() == "a-key"


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/outside", "secrets/../../x", "secrets/.x", "a/b"]
)
def test_a_file_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(BackupError):
        archive.unpack(packed.getvalue(), tmp_path / "into")


def test_a_link_is_refused(tmp_path: Path) -> None:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        link = tarfile.TarInfo("secrets/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tar.addfile(link)
    with pytest.raises(BackupError):
        archive.unpack(packed.getvalue(), tmp_path / "into")


def test_a_record_of_a_newer_stoa_is_refused() -> None:
    restore.check_version(ABOUT)
    newer = BackupManifest(
        "x", "stoa", "localhost", "x", ("tenants.0001_initial", "tenants.9999_future")
    )
    with pytest.raises(BackupError, match="9999_future"):
        restore.check_version(newer)


@pytest.mark.parametrize("command", ["backup", "restore", "unknown", "thaw"])
def test_every_command_explains_itself(command: str) -> None:
    said = CliRunner().invoke(app, ["control", command, "--help"])
    assert said.exit_code == 0
    assert f"stoa control {command}" in said.output
    assert len(said.output.splitlines()) > 4
