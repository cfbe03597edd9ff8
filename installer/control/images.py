"""The images of bin/up: built into the cache, and put into the stores of this machine's hosts."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from installer.installation import Installation
from settings import inner

# What other images stand on; nobody runs it.
_BASE = "base"


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image as images/build reports it. layout: its OCI layout."""

    name: str
    layout: str
    digest: str


def are_built(of: Installation) -> bool:
    """Return whether they have been built for this Stoa."""
    return _report(of).is_file()


def built(of: Installation) -> Iterator[BuiltImage]:
    """Return the images that shops run."""
    for line in _report(of).read_text().splitlines():
        image = json.loads(line)
        if image["name"] != _BASE:
            yield BuiltImage(image["name"], image["layout"], image["digest"])


def build(of: Installation) -> None:
    """Build them, and put them into this host's store."""
    cache = inner.CACHE.text(of.environ)
    argv = [str(inner.REPO / "images/build"), "--cache", cache]
    of.attempt("building the images (the first time takes a minute)", argv)
    said = (of.var / "logs/last-step").read_text().splitlines()
    _report(of).write_text("".join(f"{line}\n" for line in said if line.startswith("{")))
    for image in built(of):
        of.attempt(f"putting the image {image.name} into this host's store", importing(of, image))


def importing(of: Installation, image: BuiltImage, host: str = "") -> list[str]:
    """Return the command that puts an image into a host's store."""
    words = ("python", "-m", "runtime", "import-image", image.layout, "--name", image.name)
    return of.enter(*words, role="plain", host=host)


def _report(of: Installation) -> Path:
    return of.var / "run/images"
