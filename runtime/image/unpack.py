"""Unpacks one image: a program of its own, because it locks itself into the tree it fills.

    python -m runtime.image.unpack LAYOUT DIGEST TARGET

Makes TARGET/rootfs and TARGET/config.json. Refusals end with exit code 65 and say why.
"""

import ctypes
import json
import os
import resource
import sys
from pathlib import Path

from runtime.errors import InputError
from runtime.image.config import parse_config
from runtime.image.layer import Unpacked, apply, refusal
from runtime.image.layout import Image, open_image

REFUSED = 65
# A header of a hostile tar may claim any size.
MEMORY_CEILING = 1 << 30


def main(argv: list[str]) -> int:
    """Unpack and return the exit code."""
    layout, digest, target = argv
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_CEILING, MEMORY_CEILING))
    try:
        unpack(open_image(Path(layout), digest), Path(target))
    except InputError as error:
        sys.stdout.write(error.message)
        return REFUSED
    except OSError as error:
        sys.stdout.write(f"could not unpack the image: {error}")
        return 1
    return 0


def unpack(image: Image, target: Path) -> None:
    """Make rootfs and config.json below target. The process is confined to the rootfs afterwards."""
    rootfs = target / "rootfs"
    rootfs.mkdir(mode=0o755)
    # Opened before the door closes behind us.
    blobs = [(layer, layer.blob.open("rb")) for layer in image.layers]
    outside = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.umask(0)
    os.chroot(rootfs)
    os.chdir("/")
    for layer, blob in blobs:
        stream = Unpacked(blob, layer.compression)
        apply(stream)
        found = stream.digest()
        if found != layer.diff_id:
            raise refusal(f"a layer unpacks to {found}, its config says {layer.diff_id}")
    config = parse_config(image.config, _text("/etc/passwd"), _text("/etc/group"))
    content = {"config": config.to_json(), "disk_bytes": _disk_bytes("/")}
    file = os.open("config.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=outside)
    with open(file, "w") as copy:  # noqa: PTH123
        json.dump(content, copy)
    # A name that survives a power cut must lead to content that does.
    ctypes.CDLL(None).syncfs(outside)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _disk_bytes(top: str) -> int:
    """What the tree occupies; a file with several names counts once."""
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
