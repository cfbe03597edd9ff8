"""Writes OCI image layouts byte for byte the same from the same files, so a digest means something."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import stat
import tarfile
from pathlib import Path

LAYOUT_FILE = '{"imageLayoutVersion":"1.0.0"}'
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
EPOCH = "1970-01-01T00:00:00Z"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}


def write_layout(root: Path, into: Path, *, name: str, config: dict[str, object]) -> str:
    """Write the tree below `root` as a one-layer image; returns the manifest's digest.

    `config` is the OCI image config's "config" object (Env, User, Labels…).
    """
    blobs = into / "blobs/sha256"
    blobs.mkdir(parents=True)
    plain = _tar(root)
    layer = gzip.compress(plain, compresslevel=6, mtime=0)
    image = {
        "architecture": ARCHITECTURE.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": EPOCH,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [_digest(plain)]},
        "history": [{"created": EPOCH, "created_by": "images/base/build"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _blob(blobs, CONFIG_TYPE, _json(image)),
        "layers": [_blob(blobs, LAYER_TYPE, layer)],
    }
    entry = _blob(blobs, MANIFEST_TYPE, _json(manifest))
    entry["annotations"] = {"org.opencontainers.image.ref.name": name}
    (into / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [entry]}))
    (into / "oci-layout").write_text(LAYOUT_FILE)
    return str(entry["digest"])


def manifest_digest(layout: Path) -> str:
    """The digest of the one image in a layout."""
    index = json.loads((layout / "index.json").read_text())
    return str(index["manifests"][0]["digest"])


def _blob(blobs: Path, media_type: str, content: bytes) -> dict[str, object]:
    digest = _digest(content)
    (blobs / digest.removeprefix("sha256:")).write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _tar(root: Path) -> bytes:
    """The tree as a tar: sorted, no times, no names of owners; hard links become files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            status = path.lstat()
            entry = tarfile.TarInfo(str(path.relative_to(root)))
            entry.mode = stat.S_IMODE(status.st_mode)
            entry.uid, entry.gid = status.st_uid, status.st_gid
            if path.is_symlink():
                entry.type = tarfile.SYMTYPE
                entry.linkname = str(path.readlink())
                archive.addfile(entry)
            elif path.is_dir():
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            else:
                entry.size = status.st_size
                with path.open("rb") as content:
                    archive.addfile(entry, content)
    return buffer.getvalue()
