"""What an image says is to be run, and as whom, read from its OCI configuration."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from posixpath import normpath

from runtime.errors import SpecInvalidError

HIGHEST_ID = 65535
# Each is a mount of every start.
MOST_VOLUMES = 16
# What the platform itself puts there would be covered; and below /data everything is kept anyway.
_OURS = ("/data", "/dev", "/proc", "/sys", "/tmp")  # noqa: S108 - the container's
_DEFAULT_STOP_SIGNAL = "SIGTERM"


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says is to be run.

    uid and gid are numbers as seen inside the container; names were looked up in the image's own
    /etc/passwd and /etc/group when it was imported. volumes: the directories it wants kept besides
    /data, links on the way followed.
    """

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    working_dir: str
    uid: int
    gid: int
    stop_signal: str
    labels: tuple[tuple[str, str], ...]
    volumes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the JSON that is written beside the image's directory."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> "ImageConfig":
        """Read the JSON back; the file is our own, so its shape is not questioned, but it may be an older
        one.
        """
        known = [field.name for field in fields(cls) if field.name in data]
        return cls(**{name: _tuples(data[name]) for name in known})  # type: ignore[arg-type]


def parse_config(config: Mapping[str, object], passwd: str, group: str) -> ImageConfig:
    """Work out ImageConfig from the `config` object of an OCI image configuration.

    passwd and group: the text of the image's own files, "" when it has none.
    Raises SpecInvalidError for a user that cannot be resolved or a program that is missing.
    """
    argv = (*_strings(config.get("Entrypoint")), *_strings(config.get("Cmd")))
    if not argv:
        raise SpecInvalidError(
            "image has neither Entrypoint nor Cmd; say in its Dockerfile what is to be run",
            field="image",
        )
    uid, gid = _user(str(config.get("User") or ""), passwd, group)
    labels = config.get("Labels") or {}
    return ImageConfig(
        argv=argv,
        env=tuple(_pair(item) for item in _strings(config.get("Env"))),
        working_dir=str(config.get("WorkingDir") or "/"),
        uid=uid,
        gid=gid,
        stop_signal=str(config.get("StopSignal") or _DEFAULT_STOP_SIGNAL),
        labels=tuple(sorted(labels.items())) if isinstance(labels, dict) else (),
        volumes=declared_volumes(config),
    )


def declared_volumes(config: Mapping[str, object]) -> tuple[str, ...]:
    """Return the directories that the `config` object of an image wants kept (VOLUME), besides /data."""
    declared = config.get("Volumes")
    return kept_apart(map(str, declared)) if isinstance(declared, dict) else ()


def kept_apart(paths: Iterable[str]) -> tuple[str, ...]:
    """Return those of an image's directories that get a place of their own in the tenant's volume.

    Left out is what /data keeps anyway, what is the platform's, and what lies in another one.
    Raises SpecInvalidError when there are more than MOST_VOLUMES.
    """
    found: list[str] = []
    for path in sorted({normpath(f"/{path}".replace("//", "/")) for path in paths}):
        if path != "/" and not _is_in(path, (*_OURS, *found)):
            found.append(path)
    if len(found) > MOST_VOLUMES:
        raise SpecInvalidError(
            f"image declares {len(found)} VOLUMEs; at most {MOST_VOLUMES} are kept, so declare the"
            " directory above them",
            field="image",
        )
    return tuple(found)


def _is_in(path: str, others: Iterable[str]) -> bool:
    return any(path == other or path.startswith(f"{other}/") for other in others)


def _user(user: str, passwd: str, group: str) -> tuple[int, int]:
    """uid and gid of `user`, `uid`, `user:group` and their mixtures, as Docker reads them."""
    name, _, group_name = user.partition(":")
    uid, gid = _resolve_user(name, passwd)
    if group_name:
        gid = _resolve_group(group_name, group)
    for kind, number in (("user", uid), ("group", gid)):
        if not 0 <= number <= HIGHEST_ID:
            raise SpecInvalidError(
                f"image runs as {kind} {number}; containers have ids 0 to {HIGHEST_ID}",
                field="image",
            )
    return uid, gid


def _resolve_user(name: str, passwd: str) -> tuple[int, int]:
    if not name:
        return 0, 0
    for line in passwd.splitlines():
        parts = line.split(":")
        if len(parts) >= 4 and name in {parts[0], parts[2]}:
            return int(parts[2]), int(parts[3])
    if name.isdecimal():
        return int(name), 0
    raise SpecInvalidError(
        f"image runs as user {name!r}, who is not in its /etc/passwd; use a number", field="image"
    )


def _resolve_group(name: str, group: str) -> int:
    if name.isdecimal():
        return int(name)
    for line in group.splitlines():
        parts = line.split(":")
        if len(parts) >= 3 and parts[0] == name:
            return int(parts[2])
    raise SpecInvalidError(
        f"image runs as group {name!r}, which is not in its /etc/group; use a number", field="image"
    )


def _strings(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _pair(item: str) -> tuple[str, str]:
    name, _, value = item.partition("=")
    return name, value


def _tuples(value: object) -> object:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
