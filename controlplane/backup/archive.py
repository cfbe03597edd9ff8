"""A backup's file: a tar of a manifest, the record as pg_dump made it, and the secrets, encrypted.

The manifest comes first and says of each other part how large it is and its SHA-256. The secrets are the keys
to everything, so they lie in the file only under a passphrase; the record holds no more than hashes of them.
"""

import hashlib
import io
import json
import os
import re
import secrets
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from runtime.wire import parsed

FORMAT = 1
MANIFEST, RECORD, SECRETS = "manifest.json", "record.dump", "secrets.enc"
LEAST_PASSPHRASE = 12
_SALT, _NONCE = 16, 12
_PIECE = 1 << 20
_MOST_MANIFEST = 1 << 20
_NAME = re.compile(r"(secrets/)?[A-Za-z0-9][A-Za-z0-9._-]*")

Say = Callable[[str], None]


class BackupError(Exception):
    """A backup that cannot be made, read or believed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """What a backup is of. migrations: those that its record has. parts: SHA-256 by name; sizes: bytes."""

    made_at: str
    scope: str
    domain: str
    console: str
    migrations: tuple[str, ...]
    parts: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    format: int = FORMAT


def write(path: Path, about: BackupManifest, *, record: Path, sealed: bytes) -> BackupManifest:
    """Write the file in one step: it is there whole, or not at all. BackupError.

    about: what it is of, without parts and sizes; they are in the manifest that is given back.
    """
    manifest = replace(
        about,
        parts={RECORD: _sum_of(record), SECRETS: hashlib.sha256(sealed).hexdigest()},
        sizes={RECORD: record.stat().st_size, SECRETS: len(sealed)},
    )
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                _add(tar, MANIFEST, json.dumps(asdict(manifest), indent=1).encode())
                tar.add(record, RECORD, filter=_nobodys)
                _add(tar, SECRETS, sealed)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        new.unlink(missing_ok=True)
    return manifest


def read(path: Path, record: Path) -> tuple[BackupManifest, bytes]:
    """Check the file, and put its record into `record`; the manifest and the sealed secrets. BackupError."""
    try:
        with tarfile.open(path, mode="r:") as tar:
            manifest = _manifest(tar)
            _take(tar, RECORD, record, manifest)
            sealed = _read(tar, SECRETS, manifest.sizes[SECRETS])
    except (OSError, tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise BackupError(f"{path} is no whole backup of a Stoa: {error}") from error
    if hashlib.sha256(sealed).hexdigest() != manifest.parts[SECRETS]:
        raise BackupError(
            f"{path} is damaged: {SECRETS} is not what its manifest says; take another"
        )
    return manifest, sealed


def seal(content: bytes, passphrase: str) -> bytes:
    """Encrypt under a passphrase (scrypt, AES-256-GCM). BackupError when it is too short."""
    if len(passphrase) < LEAST_PASSPHRASE:
        raise BackupError(f"the passphrase must have at least {LEAST_PASSPHRASE} characters")
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    return salt + nonce + AESGCM(_key(passphrase, salt)).encrypt(nonce, content, SECRETS.encode())


def unseal(sealed: bytes, passphrase: str) -> bytes:
    """Return what was sealed. Raises BackupError if the passphrase or a single bit is wrong."""
    salt, nonce, rest = sealed[:_SALT], sealed[_SALT : _SALT + _NONCE], sealed[_SALT + _NONCE :]
    try:
        return AESGCM(_key(passphrase, salt)).decrypt(nonce, rest, SECRETS.encode())
    except (InvalidTag, ValueError) as error:
        raise BackupError("this is not the passphrase that the backup was made with") from error


def pack(files: Mapping[str, Path]) -> bytes:
    """Small files with owner and mode, as one piece; by the name they have in it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, path in sorted(files.items()):
            tar.add(path, name, recursive=False)
    return packed.getvalue()


def unpack(content: bytes, into: Path) -> None:
    """Lay packed files out below a new directory that only its owner may enter. BackupError."""
    into.mkdir(mode=0o700)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        for member in tar:
            if not member.isfile() or not _NAME.fullmatch(member.name):
                raise BackupError(f"{member.name[:80]!r} does not belong into a backup")
            path = into / member.name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.write_bytes(_read(tar, member.name, member.size))
            path.chmod(member.mode & 0o777)
            if os.geteuid() == 0:
                _give_to_owner(path, member)


def _give_to_owner(path: Path, member: tarfile.TarInfo) -> None:
    """By name: on another machine the same system user has another number."""
    for kind, name in (("user", member.uname), ("group", member.gname)):
        try:
            shutil.chown(path, **{kind: name or "root"})
        except LookupError as error:
            raise BackupError(
                f"this machine has no {kind} {name}, who owns {member.name}; install Stoa first: bin/up"
            ) from error


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=2**15, r=8, p=1).derive(passphrase.encode())


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


def _manifest(tar: tarfile.TarFile) -> BackupManifest:
    document = parsed(_read(tar, MANIFEST, _MOST_MANIFEST))
    if not isinstance(document, dict):
        raise ValueError(f"{MANIFEST} is no object")
    if document.get("format") != FORMAT:
        raise BackupError(
            f"this backup has format {document.get('format')!r}; this Stoa reads {FORMAT}"
        )
    return BackupManifest(**document)


def _read(tar: tarfile.TarFile, name: str, most: int) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file.read(most)


def _take(tar: tarfile.TarFile, name: str, to: Path, manifest: BackupManifest) -> None:
    source = tar.extractfile(name)
    if source is None:
        raise ValueError(f"{name} is no file")
    found, size = hashlib.sha256(), 0
    with to.open("wb") as file:
        while piece := source.read(_PIECE):
            found.update(piece)
            size += len(piece)
            file.write(piece)
    if size != manifest.sizes[name] or found.hexdigest() != manifest.parts[name]:
        raise BackupError(
            f"the backup is damaged: {name} is not what its manifest says; take another"
        )
