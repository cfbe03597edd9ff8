"""Reading an OCI image layout, a directory or a tar of one, and believing nothing it has not hashed."""

import hashlib
import platform
import re
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import SpecInvalidError
from runtime.wire import parsed

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_MEMBER = re.compile(r"(?:\./)?(oci-layout|index\.json|blobs/sha256/[0-9a-f]{64})")
_REF_NAME = "org.opencontainers.image.ref.name"
_INDEXES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
_JSON_LIMIT = 4 * 1024 * 1024
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """One layer: its blob, how it is packed, and the digest its unpacked tar must have."""

    blob: Path
    compression: str
    diff_id: str


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a layout, every blob of it verified to exist with the digest it is named by."""

    digest: str
    layers: tuple[ImageLayer, ...]
    config: Mapping[str, object]


def unpack_archive(archive: Path, to: Path) -> None:
    """Take the layout out of a tar; members that are no part of a layout are left alone."""
    with tarfile.open(archive) as tar:
        for member in tar:
            found = _MEMBER.fullmatch(member.name)
            source = tar.extractfile(member) if found and member.isreg() else None
            if found is None or source is None:
                continue
            target = to / found[1]
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as copy:
                shutil.copyfileobj(source, copy)


def manifest_digest(layout: Path, name: str) -> str:
    """Digest of the manifest for this machine; name chooses where the layout holds several images."""
    index = layout / "index.json"
    if not index.is_file():
        raise _bad(f"{layout} has no index.json; give an OCI layout (directory or tar)")
    entries = _manifests(_object(index.read_bytes(), "index.json"))
    named = [entry for entry in entries if _names(entry) & {name, name.rpartition(":")[2]}]
    return _choose(layout, named or entries)


def open_image(layout: Path, digest: str) -> Image:
    """Verify every blob of an image and say what it is made of. Raises SpecInvalidError."""
    manifest = _json_blob(layout, digest)
    config = _json_blob(layout, _digest_of(manifest.get("config")))
    rootfs = config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    layers = manifest.get("layers")
    if not isinstance(layers, list) or not isinstance(diff_ids, list):
        raise _bad(f"manifest {digest} has no list of layers")
    if len(layers) != len(diff_ids):
        raise _bad(f"manifest {digest} has {len(layers)} layers, its config {len(diff_ids)}")
    if (kind := _platform_of({"platform": config})) != _here():
        raise _bad(f"manifest {digest} is for {kind}; this machine is {_here()}")
    inner = config.get("config")
    return Image(
        digest=digest,
        layers=tuple(
            ImageLayer(verified_blob(layout, _digest_of(layer)), _compression(layer), str(diff_id))
            for layer, diff_id in zip(layers, diff_ids, strict=True)
        ),
        config=inner if isinstance(inner, dict) else {},
    )


def verified_blob(layout: Path, digest: str) -> Path:
    """Path of a blob whose content has been hashed and is what its name says."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise _bad(f"blob digest is {digest!r}; only sha256 is accepted")
    path = layout / "blobs" / "sha256" / match[1]
    if not path.is_file():
        raise _bad(f"blob {digest} is missing; copy the image again")
    with path.open("rb") as blob:
        found = hashlib.file_digest(blob, "sha256").hexdigest()
    if found != match[1]:
        raise _bad(f"blob {digest} has content sha256:{found}; copy the image again")
    return path


def choose_manifest(raw: bytes, digest: str) -> str:
    """Digest of the manifest for this machine: that of raw itself, or one that raw, an index, lists."""
    found = _object(raw, f"blob {digest}")
    if found.get("mediaType") not in _INDEXES and "manifests" not in found:
        return digest
    entries = _manifests(found)
    mine = [
        entry for entry in entries if entry.get("mediaType") not in _INDEXES and _fits_here(entry)
    ]
    if not mine:
        kinds = sorted({_platform_of(entry) for entry in entries})
        raise _bad(f"{digest} is offered for {', '.join(kinds)}; this machine is {_here()}")
    return _digest_of(mine[0])


def packed_bytes(raw: bytes) -> int:
    """Return the bytes of a manifest's blobs, as it says itself. Raises SpecInvalidError for nonsense."""
    found = _object(raw, "the manifest")
    layers = found.get("layers")
    if not isinstance(layers, list) or not isinstance(found.get("config"), dict):
        raise _bad("its manifest has no list of layers; push it anew with a tool of this decade")
    sizes = [
        blob.get("size") if isinstance(blob, dict) else None for blob in (found["config"], *layers)
    ]
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise _bad("its manifest names sizes that are none")
    return sum(size for size in sizes if isinstance(size, int))


def blobs_of(raw: bytes) -> tuple[tuple[str, int], ...]:
    """Digest and size of each blob a manifest names, its config first; each once."""
    packed_bytes(raw)
    found = _object(raw, "the manifest")
    layers = found["layers"]
    entries = [found["config"], *(layers if isinstance(layers, list) else ())]
    return tuple({_digest_of(entry): int(entry["size"]) for entry in entries}.items())


def _choose(layout: Path, entries: list[Mapping[str, object]]) -> str:
    """Return one manifest of a list, looking into nested lists and preferring this machine's kind."""
    mine = [entry for entry in entries if _fits_here(entry)]
    if len(mine) != 1:
        names = sorted({name for entry in entries for name in _names(entry)})
        raise _bad(
            f"layout holds {len(mine)} images for this machine ({', '.join(names) or 'no names'});"
            " name one of them"
        )
    digest = _digest_of(mine[0])
    if mine[0].get("mediaType") in _INDEXES:
        return _choose(layout, _manifests(_json_blob(layout, digest)))
    return digest


def _fits_here(entry: Mapping[str, object]) -> bool:
    if not isinstance(entry.get("platform"), dict):
        return True
    return _platform_of(entry) == _here()


def _platform_of(entry: Mapping[str, object]) -> str:
    wanted = entry.get("platform")
    if not isinstance(wanted, dict):
        return "?"
    return f"{wanted.get('os')}/{wanted.get('architecture')}"


def _here() -> str:
    return f"linux/{_MACHINES.get(platform.machine(), platform.machine())}"


def _manifests(index: Mapping[str, object]) -> list[Mapping[str, object]]:
    found = index.get("manifests")
    if not isinstance(found, list):
        raise _bad("index lists no manifests")
    return [entry for entry in found if isinstance(entry, dict)]


def _names(entry: Mapping[str, object]) -> set[str]:
    annotations = entry.get("annotations")
    if not isinstance(annotations, dict) or _REF_NAME not in annotations:
        return set()
    return {str(annotations[_REF_NAME])}


def _json_blob(layout: Path, digest: str) -> Mapping[str, object]:
    path = verified_blob(layout, digest)
    if path.stat().st_size > _JSON_LIMIT:
        raise _bad(f"blob {digest} is {path.stat().st_size} bytes; a manifest has at most 4 MiB")
    return _object(path.read_bytes(), f"blob {digest}")


def _object(raw: bytes, what: str) -> Mapping[str, object]:
    try:
        found = parsed(raw)
    except ValueError as error:
        raise _bad(f"{what} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise _bad(f"{what} is not a JSON object")
    return found


def _digest_of(descriptor: object) -> str:
    return str(descriptor.get("digest", "")) if isinstance(descriptor, dict) else ""


def _compression(descriptor: object) -> str:
    kind = str(descriptor.get("mediaType", "")) if isinstance(descriptor, dict) else ""
    if kind.endswith((".tar+gzip", ".tar.gzip")):
        return "gzip"
    if kind.endswith((".tar+zstd", ".tar.zstd")):
        return "zstd"
    if kind.endswith(".tar"):
        return ""
    raise _bad(f"layer is of type {kind!r}; build the image with gzip or zstd layers")


def _bad(message: str) -> SpecInvalidError:
    return SpecInvalidError(f"image: {message}", field="image")
