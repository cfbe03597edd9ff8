"""A host's own image store: one flat directory per manifest digest, never changed once it has its name.

Flat because the kernel will not idmap an overlay, our own because other tools delete images in use.

    <root>/images/<hex>/{rootfs/, config.json, name}     <root>/holds/<hex>/<user>
    <root>/work/   unpacking happens here                <root>/locks/<hex>

`name` is touched whenever somebody asks for the image: its time says how long nobody has needed it.
"""

import fcntl
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from runtime.errors import HostError, ImageUnknownError, InputError, SpecInvalidError
from runtime.ids import check_digest
from runtime.image.config import ImageConfig
from runtime.statuses import ImageStatus
from runtime.system.commands import run
from runtime.system.files import make_directory, open_lock, remove_anything, take_place
from runtime.system.trees import remove_tree
from runtime.wire import parsed

UNPACK_SECONDS = 600.0
_REFUSED = 65
_NO_ROOM = 74
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
        _check_name(name)
        self._prepare()
        with self._layout(path) as layout:
            digest = self._digest(layout, name)
            with self._locked(digest, fcntl.LOCK_EX):
                if self._directory(digest).exists():
                    _replace(self._directory(digest) / "name", name)
                else:
                    self._unpack(layout, digest, name)
        return digest

    def add(self, digest: str, name: str, fill: Callable[[Path], None]) -> None:
        """Take the image that `fill` puts as an OCI layout into the empty directory it is given.

        Whoever comes while another process is at it waits; where the image is there, fill is not called
        and the image keeps its name. Whatever fill raises leaves nothing behind.
        """
        _check_name(name)
        self._prepare()
        with self._locked(digest, fcntl.LOCK_EX):
            if self.has(digest):
                return
            self._put_aside(digest)
            with self._workplace() as layout:
                fill(layout)
                self._unpack(layout, digest, name)

    def rename(self, digest: str, name: str) -> None:
        """Give an image that is here another name."""
        _check_name(name)
        with self._locked(check_digest(digest), fcntl.LOCK_EX):
            _replace(self._existing(digest) / "name", name)

    @contextmanager
    def turn(self, most: int) -> Iterator[None]:
        """Wait until fewer than `most` others, in any process, are inside this block."""
        self._prepare()
        number = 0
        with ExitStack() as held:
            while True:
                with suppress(BlockingIOError):
                    held.enter_context(
                        self._locked(f"turn-{number}", fcntl.LOCK_EX | fcntl.LOCK_NB)
                    )
                    break
                number = (number + 1) % most
                time.sleep(0.1)
            yield

    def has(self, digest: str) -> bool:
        """Return whether the image is here, whole; asking keeps it from being collected for a while."""
        try:
            self.config(digest)
            self._touch(self._directory(digest) / "name")
            is_whole = (self._directory(digest) / "rootfs").is_dir()
        except (OSError, ImageUnknownError, HostError):
            return False
        return is_whole

    def _touch(self, name: Path) -> None:
        try:
            os.utime(name)
        except FileNotFoundError:
            _replace(name, "unnamed")  # lost: only people read it, and its time is what counts

    def sweep(self) -> None:
        """Remove what work that was killed has left half done; work that goes on is left alone."""
        try:
            places = list((self._root / "work").iterdir())
        except FileNotFoundError:
            return
        with self._locked("work", fcntl.LOCK_EX):
            for place in places:
                with suppress(FileNotFoundError, NotADirectoryError, BlockingIOError):
                    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                    try:
                        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        remove_tree(place)
                    finally:
                        os.close(fd)

    def rootfs(self, digest: str) -> Path:
        """Return the image's flat directory, owned by ids 0 to 65535; read it, never write it."""
        return self._existing(digest) / "rootfs"

    def config(self, digest: str) -> ImageConfig:
        """Return what the image says is to be run."""
        try:
            return ImageConfig.from_json(self._facts(digest)["config"])
        except (ValueError, KeyError, TypeError) as error:
            raise HostError(f"the configuration of image {digest} is damaged: {error}") from error

    def list(self) -> tuple[ImageStatus, ...]:
        """Return every image of this store, ordered by name, then digest."""
        try:
            names = [place.name for place in (self._root / "images").iterdir()]
        except FileNotFoundError:
            return ()
        found = []
        for name in names:
            # Removed while we look, or damaged: then it is fetched again when it is needed (`has`).
            with suppress(InputError, HostError, OSError):
                found.append(self.status(f"sha256:{name}"))
        return tuple(sorted(found, key=lambda status: (status.name, status.digest)))

    def hold(self, digest: str, user: str) -> None:
        """Keep an image from being removed while user (an instance id) needs it; may be repeated."""
        check_digest(digest)
        with self._locked(digest, fcntl.LOCK_SH):
            self._existing(digest)
            holds = self._holds(digest)
            make_directory(holds)
            remove_anything(hold := holds / _check_user(user))
            hold.touch()

    def release(self, digest: str, user: str) -> None:
        """End a hold; no-op if there is none."""
        check_digest(digest)
        remove_anything(self._holds(digest) / _check_user(user))

    def release_all(self, user: str) -> None:
        """End every hold of a user, for one of whom nobody can say which image it needed."""
        for place in (self._root / "holds").glob("*"):
            remove_anything(place / _check_user(user))

    def remove(self, digest: str) -> None:
        """Delete an image; no-op if it is gone. Raises SpecInvalidError while somebody holds it."""
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
            self._remove(digest)

    def status(self, digest: str) -> ImageStatus:
        """Return what is known of one image."""
        size = self._facts(digest)["disk_bytes"]
        file = self._directory(digest) / "name"
        age = max(0.0, time.time() - file.stat().st_mtime)
        try:
            name = file.read_text()
        except (IsADirectoryError, ValueError):
            name = ""  # damaged: only people read it
        return ImageStatus(digest, name, size, self._holders(digest), age)

    def collect(
        self, *, keep: Collection[str], users: Collection[str], young_seconds: float, dry_run: bool
    ) -> tuple[ImageStatus, ...]:
        """Remove images that nobody needs, and return them; with dry_run only return them.

        keep: digests that stay. users: every instance of this host; what others hold, since longer than
        young_seconds, is forgotten. An image that was asked for within young_seconds stays.
        """
        gone = []
        for found in self.list():
            if found.digest in keep:
                continue
            with self._locked(found.digest, fcntl.LOCK_EX):
                if not self._directory(found.digest).exists():
                    continue
                now = self.status(found.digest)  # what the list said may be over
                if now.idle_seconds < young_seconds or self._counting(
                    found.digest, users, young_seconds
                ):
                    continue
                if not dry_run:
                    self._remove(found.digest)
                gone.append(now)
        return tuple(gone)

    def _counting(self, digest: str, users: Collection[str], young_seconds: float) -> bool:
        """Return whether a hold counts: of an instance that is here, or so young that it may be about to be.

        Others are of instances that were removed while the machine failed.
        """
        for user in self._holders(digest):
            with suppress(FileNotFoundError):
                held_at = (self._holds(digest) / user).stat().st_mtime
                if user in users or time.time() - held_at <= young_seconds:
                    return True
        return False

    def _remove(self, digest: str) -> None:
        if self._directory(digest).exists():
            # Out of sight in one step, so that nobody ever meets half an image.
            with self._workplace() as grave:
                self._directory(digest).rename(grave / "image")
        remove_anything(self._holds(digest))

    def _unpack(self, layout: Path, digest: str, name: str) -> None:
        with self._workplace() as work:
            # Before it has its place: a kill leaves a whole image or none.
            (work / "name").write_text(name)
            done = run(
                *(sys.executable, "-m", "runtime.image.unpack", str(layout), digest, str(work)),
                timeout=UNPACK_SECONDS,
                ok=frozenset({0, _REFUSED, _NO_ROOM}),
                env={**os.environ, "PYTHONPATH": str(_CHECKOUT)},
            )
            if done.exit_code == _REFUSED:
                raise SpecInvalidError(done.output, field="image")
            if done.exit_code == _NO_ROOM:
                raise HostError(f"image {digest} does not fit on this host's disk: {done.output}")
            work.rename(self._directory(digest))

    @contextmanager
    def _workplace(self) -> Iterator[Path]:
        """A directory of its own, locked while the block lasts; what is then still there is removed.

        The lock tells `sweep` that somebody lives there.
        """
        with self._locked("work", fcntl.LOCK_SH):
            place = Path(tempfile.mkdtemp(dir=self._root / "work"))
            fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield place
        finally:
            try:
                remove_tree(place)
            finally:
                os.close(fd)

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

        with self._workplace() as unpacked:
            unpack_archive(path, unpacked)
            yield unpacked

    def _digest(self, layout: Path, name: str) -> str:
        from runtime.image.layout import manifest_digest

        return check_digest(manifest_digest(layout, name))

    def _facts(self, digest: str) -> dict[str, Any]:
        file = self._existing(digest) / "config.json"
        try:
            found = parsed(file.read_text())
            if isinstance(found["config"], dict) and type(found["disk_bytes"]) is int:
                return dict(found)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HostError(f"{file} is damaged: {error}") from error
        raise HostError(f"{file} is damaged")

    def _put_aside(self, digest: str) -> None:
        """Make way for a whole image. Containers that run on the damaged one go on using its files."""
        damaged = self._root / "damaged" / self._directory(digest).name
        if self._directory(digest).exists():
            damaged.parent.mkdir(mode=0o700, exist_ok=True)
            if not damaged.exists():
                self._directory(digest).rename(damaged)
            else:  # it happened before, so nothing that was started since runs on this one for long
                with self._workplace() as grave:
                    self._directory(digest).rename(grave / "image")

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
        except (FileNotFoundError, NotADirectoryError):
            return ()

    def _prepare(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        # Set-id files of every image lie below: nobody but root may reach them.
        self._root.chmod(0o700)
        for name in ("images", "holds", "work", "locks"):
            make_directory(self._root / name)

    @contextmanager
    def _locked(self, digest: str, kind: int) -> Iterator[None]:
        path = self._root / "locks" / digest.removeprefix("sha256:")
        try:
            fd = open_lock(path)
        except OSError:
            self._prepare()
            fd = open_lock(path)
        try:
            fcntl.flock(fd, kind)
            yield
        finally:
            os.close(fd)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise SpecInvalidError(
            f"image name is {name!r}; it must be letters, digits and ._/:@-", field="name"
        )


def _check_user(user: str) -> str:
    if _USER.fullmatch(user):
        return user
    raise SpecInvalidError(f"user is {user!r}; it must be an instance id", field="user")


def _replace(path: Path, content: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(content)
    take_place(new, path)
