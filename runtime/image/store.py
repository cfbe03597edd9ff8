"""A host's own image store: one flat directory per manifest digest, never changed once it has its name.

Flat because the kernel will not idmap an overlay, our own because other tools delete images in use.

    <root>/images/<hex>/{rootfs/, config.json, name}     <root>/holds/<hex>/<user>
    <root>/work/   unpacking happens here                <root>/locks/<hex>
"""

import fcntl
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.commands import run
from runtime.driver import ImageStatus
from runtime.errors import ImageUnknownError, SpecInvalidError
from runtime.ids import check_digest
from runtime.image.config import ImageConfig
from runtime.trees import remove_tree

UNPACK_SECONDS = 600.0
_REFUSED = 65
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,199}")
_CHECKOUT = Path(__file__).resolve().parents[2]


class ImageStore:
    """The images below one directory. Safe to use from several processes at once."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def import_layout(self, path: Path, name: str) -> str:
        """Take an image from an OCI layout, a directory or a tar, and return its manifest digest.

        Every blob is verified before it is unpacked. An image that is there already costs nothing but
        its new name; of several imports at once, one does the work and the others wait for it.
        Raises SpecInvalidError for an image that is refused, HostError when the machine fails.
        """
        if not _NAME.fullmatch(name):
            raise SpecInvalidError(
                f"image name is {name!r}; it must be letters, digits and ._/:@-", field="name"
            )
        self._prepare()
        with self._layout(path) as layout:
            digest = self._digest(layout, name)
            with self._locked(digest, fcntl.LOCK_EX):
                if not self._directory(digest).exists():
                    self._unpack(layout, digest)
                _replace(self._directory(digest) / "name", name)
        return digest

    def rootfs(self, digest: str) -> Path:
        """The image's flat directory, owned by ids 0 to 65535; read it, never write it."""
        return self._existing(digest) / "rootfs"

    def config(self, digest: str) -> ImageConfig:
        """What the image says is to be run."""
        return ImageConfig.from_json(self._facts(digest)["config"])

    def list(self) -> tuple[ImageStatus, ...]:
        """Every image of this store, ordered by name, then digest."""
        try:
            names = [place.name for place in (self._root / "images").iterdir()]
        except FileNotFoundError:
            return ()
        found = [self._status(f"sha256:{name}") for name in names]
        return tuple(sorted(found, key=lambda status: (status.name, status.digest)))

    def hold(self, digest: str, user: str) -> None:
        """Keep an image from being removed while user (an instance id) needs it; may be repeated."""
        check_digest(digest)
        with self._locked(digest, fcntl.LOCK_SH):
            self._existing(digest)
            holds = self._holds(digest)
            holds.mkdir(parents=True, exist_ok=True)
            (holds / _check_user(user)).touch()

    def release(self, digest: str, user: str) -> None:
        """End a hold; calm when there is none."""
        check_digest(digest)
        (self._holds(digest) / _check_user(user)).unlink(missing_ok=True)

    def remove(self, digest: str) -> None:
        """Delete an image; calm when it is gone. Raises SpecInvalidError while somebody holds it."""
        check_digest(digest)
        self._prepare()
        with self._locked(digest, fcntl.LOCK_EX):
            holders = self._holders(digest)
            if holders:
                some = ", ".join(holders[:5]) + (" …" if len(holders) > 5 else "")
                raise SpecInvalidError(
                    f"image {digest} is in use by {len(holders)} instances ({some});"
                    " remove these first",
                    field="image_digest",
                )
            if self._directory(digest).exists():
                # Out of sight in one step, so that nobody ever meets half an image.
                grave = Path(tempfile.mkdtemp(dir=self._root / "work"))
                self._directory(digest).rename(grave / "image")
                remove_tree(grave)
            remove_tree(self._holds(digest))

    def _unpack(self, layout: Path, digest: str) -> None:
        work = Path(tempfile.mkdtemp(dir=self._root / "work"))
        try:
            done = run(
                *(sys.executable, "-m", "runtime.image.unpack", str(layout), digest, str(work)),
                timeout=UNPACK_SECONDS,
                ok=frozenset({0, _REFUSED}),
                env={**os.environ, "PYTHONPATH": str(_CHECKOUT)},
            )
            if done.exit_code == _REFUSED:
                raise SpecInvalidError(done.output, field="image")
            work.rename(self._directory(digest))
        except BaseException:
            remove_tree(work)
            raise

    @contextmanager
    def _layout(self, path: Path) -> Iterator[Path]:
        """The layout as a directory, for as long as the block lasts."""
        if path.is_dir():
            yield path.resolve()
            return
        if not path.is_file():
            raise SpecInvalidError(
                f"image layout {path} does not exist; give an OCI layout (directory or tar)",
                field="layout",
            )
        from runtime.image.layout import unpack_archive  # not needed by a keeper that only reads

        with tempfile.TemporaryDirectory(dir=self._root / "work") as unpacked:
            unpack_archive(path, Path(unpacked))
            yield Path(unpacked)

    def _digest(self, layout: Path, name: str) -> str:
        from runtime.image.layout import manifest_digest

        return check_digest(manifest_digest(layout, name))

    def _status(self, digest: str) -> ImageStatus:
        size = self._facts(digest)["disk_bytes"]
        name = (self._directory(digest) / "name").read_text()
        return ImageStatus(digest, name, size, self._holders(digest))

    def _facts(self, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._existing(digest) / "config.json").read_text())
        return found

    def _existing(self, digest: str) -> Path:
        directory = self._directory(digest)
        if not directory.is_dir():
            raise ImageUnknownError(
                f"this host does not hold image {digest};"
                " import it with: python -m runtime import-image LAYOUT --name NAME",
                digest=digest,
            )
        return directory

    def _directory(self, digest: str) -> Path:
        return self._root / "images" / check_digest(digest).removeprefix("sha256:")

    def _holds(self, digest: str) -> Path:
        return self._root / "holds" / digest.removeprefix("sha256:")

    def _holders(self, digest: str) -> tuple[str, ...]:
        try:
            return tuple(sorted(place.name for place in self._holds(digest).iterdir()))
        except FileNotFoundError:
            return ()

    def _prepare(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        # Set-id files of every image lie below: nobody but root may reach them.
        self._root.chmod(0o700)
        for name in ("images", "holds", "work", "locks"):
            (self._root / name).mkdir(exist_ok=True)

    @contextmanager
    def _locked(self, digest: str, kind: int) -> Iterator[None]:
        path = self._root / "locks" / digest.removeprefix("sha256:")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            self._prepare()
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, kind)
            yield
        finally:
            os.close(fd)


def _check_user(user: str) -> str:
    if _USER.fullmatch(user):
        return user
    raise SpecInvalidError(f"user is {user!r}; it must be an instance id", field="user")


def _replace(path: Path, content: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(content)
    new.replace(path)
