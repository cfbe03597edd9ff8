"""Unpacks one image: a program of its own, because it locks itself into the tree it fills.

    python -m runtime.image.unpack LAYOUT DIGEST TARGET

Makes TARGET/rootfs and TARGET/config.json. Refusals end with exit code 65, a full disk with 74; both say why.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from runtime.errors import InputError
from runtime.image.config import kept_apart, parse_config
from runtime.image.layer import BYTES_LIMIT, Budget, Unpacked, apply, refusal
from runtime.image.layout import Image, ImageLayer, open_image

REFUSED = 65
NO_ROOM = 74
# As many as an overlay of other engines can have; each may be a process that unpacks.
LAYERS_LIMIT = 128
_PR_SET_PDEATHSIG = 1
# Whatever else the kernel refuses while a layer is applied, the layer has asked for.
_NOT_THE_LAYERS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EROFS}
)
# A header of a hostile tar may claim any size.
MEMORY_LIMIT = 1 << 30


def main(argv: list[str]) -> int:
    """Unpack and return the exit code."""
    layout, digest, target = argv
    # Whoever wants the image waits for us; when it is killed, nobody does.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES_LIMIT, BYTES_LIMIT))
    try:
        unpack(open_image(Path(layout), digest), Path(target))
    except InputError as error:
        sys.stdout.write(error.message)
        return REFUSED
    except MemoryError:
        sys.stdout.write("image: a header of a layer needs more memory than unpacking may have")
        return REFUSED
    except OSError as error:
        sys.stdout.write(f"could not unpack the image: {error}")
        return NO_ROOM if error.errno in {errno.ENOSPC, errno.EDQUOT} else 1
    return 0


def unpack(image: Image, target: Path) -> None:
    """Make rootfs and config.json below target. The process is confined to the rootfs afterwards."""
    rootfs = target / "rootfs"
    rootfs.mkdir(mode=0o755)
    if len(image.layers) > LAYERS_LIMIT:
        raise refusal(f"it has {len(image.layers)} layers; at most {LAYERS_LIMIT} are taken")
    # Opened before the door closes behind us.
    blobs = [(layer, *_opened(layer)) for layer in image.layers]
    outside = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.umask(0)
    os.chroot(rootfs)
    os.chdir("/")
    budget = Budget()
    for layer, blob, compression in blobs:
        stream = Unpacked(blob, compression, budget)
        try:
            apply(stream, budget)
        except OSError as error:
            if error.errno in _NOT_THE_LAYERS:
                raise
            raise refusal(f"a layer cannot be unpacked: {error}") from error
        found = stream.digest()
        if found != layer.diff_id:
            raise refusal(f"a layer unpacks to {found}, its config says {layer.diff_id}")
    config = parse_config(image.config, _text("/etc/passwd"), _text("/etc/group"))
    config = replace(config, volumes=_made(config.volumes))
    content = {"config": config.to_json(), "disk_bytes": _disk_bytes("/")}
    file = os.open("config.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=outside)
    with open(file, "w") as copy:  # noqa: PTH123
        json.dump(content, copy)
    # A name that survives a power cut must lead to content that does.
    ctypes.CDLL(None).syncfs(outside)


def _opened(layer: ImageLayer) -> tuple[BinaryIO, str]:
    """Return the blob as a stream, and how that is packed; what Python cannot unpack, a program does.

    A blob that is not what it says gives a short stream, which has another digest than the config says.
    """
    blob = layer.blob.open("rb")
    if layer.compression != "zstd":
        return blob, layer.compression
    try:
        program = subprocess.Popen(
            ["zstd", "-dcq", "--memory=256MB"],
            stdin=blob,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise refusal(
            "a layer is packed with zstd, and this host has no program for that;"
            " apt-get install zstd"
        ) from None
    blob.close()
    assert program.stdout is not None  # noqa: S101 - it was asked for as a pipe
    return program.stdout, ""  # type: ignore[return-value]


def _made(volumes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the directories that are to be kept, made where the image has none, so that each can be mounted
    on.

    Links are followed here, where they cannot lead out of the image; one that leads to a file is left out.
    """
    places = []
    for path in kept_apart(os.path.realpath(volume) for volume in volumes):
        try:
            os.makedirs(path, mode=0o755, exist_ok=True)  # noqa: PTH103
        except (FileExistsError, NotADirectoryError):
            continue
        places.append(path)
    return tuple(places)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _disk_bytes(top: str) -> int:
    """Return the bytes that the tree occupies; a file with several names counts once."""
    total = 0
    seen: set[int] = set()
    for directory, _names, files in os.walk(top):
        for path in (directory, *(os.path.join(directory, name) for name in files)):  # noqa: PTH118
            found = os.lstat(path)
            if found.st_ino not in seen:
                seen.add(found.st_ino)
                total += found.st_blocks * 512
    return total


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
