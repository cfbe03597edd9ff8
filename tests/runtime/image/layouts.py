"""OCI layouts made in memory, well formed or hostile, for the tests of the image store."""

import gzip
import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# The kind of this machine, as images name it.
HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class Entry:
    """One member of a layer; kind is a tarfile type. headers: further pax headers."""

    name: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644
    link: str = ""
    uid: int = 0
    gid: int = 0
    xattrs: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def directory(name: str, mode: int = 0o755) -> Entry:
    return Entry(name, kind=tarfile.DIRTYPE, mode=mode)


def symlink(name: str, to: str) -> Entry:
    return Entry(name, kind=tarfile.SYMTYPE, link=to)


def hardlink(name: str, to: str) -> Entry:
    return Entry(name, kind=tarfile.LNKTYPE, link=to)


def layer(*entries: Entry) -> bytes:
    """The tar of a layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            member = tarfile.TarInfo(entry.name)
            member.type = entry.kind
            member.mode = entry.mode
            member.linkname = entry.link
            member.uid, member.gid = entry.uid, entry.gid
            member.size = len(entry.content)
            member.mtime = 1_700_000_000
            member.pax_headers = {
                **{f"SCHILY.xattr.{key}": value for key, value in entry.xattrs.items()},
                **entry.headers,
            }
            tar.addfile(member, io.BytesIO(entry.content))
    return out.getvalue()


def write_layout(
    to: Path,
    layers: Sequence[bytes],
    *,
    config: Mapping[str, object] | None = None,
    name: str = "app",
    diff_ids: Sequence[str] | None = None,
    compression: str = "gzip",
    architecture: str = "",
) -> str:
    """Write an OCI layout directory with one image and return its manifest digest.

    architecture: as images name it; this machine's when it is "".
    """
    packed = [_PACKERS[compression](content) for content in layers]
    image = {
        "os": "linux",
        "architecture": architecture or HERE,
        "config": dict(config if config is not None else {"Cmd": ["/bin/app"]}),
        "rootfs": {
            "type": "layers",
            "diff_ids": list(diff_ids or [sha256(content) for content in layers]),
        },
    }
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "config": _put(to, json.dumps(image).encode(), f"{kind}.config.v1+json"),
        "layers": [_put(to, content, f"{kind}.layer.v1.tar+{compression}") for content in packed],
    }
    entry = _put(to, json.dumps(manifest).encode(), f"{kind}.manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": name}
    index_file = to / "index.json"
    old = json.loads(index_file.read_text())["manifests"] if index_file.exists() else []
    index_file.write_text(json.dumps({"schemaVersion": 2, "manifests": [*old, entry]}))
    (to / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(entry["digest"])


def _zstd(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=content, check=True, capture_output=True).stdout


_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(
        content, 1, mtime=0
    ),  # hundreds are made: quick, not small
    "zstd": _zstd,
}


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _put(to: Path, content: bytes, media_type: str) -> dict[str, object]:
    digest = sha256(content)
    path = to / "blobs" / "sha256" / digest.removeprefix("sha256:")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}
