"""Takes volumes that lie outside the store, from before there was one, into it.

While this runs nobody uses them. The old directory counts until the copy is whole, and is then renamed away
in one step. A kill in between leaves a volume that is still complete.
"""

from pathlib import Path

from runtime.disk.loop import mount_point
from runtime.disk.quota import detect
from runtime.disk.spaces import Spaces
from runtime.errors import HostError
from runtime.ids import check_slug
from runtime.system.commands import run
from runtime.system.trees import remove_tree

_COPY_SECONDS = 3600.0


def waiting(state_dir: Path) -> tuple[str, ...]:
    """Return the names of volumes outside the store, in order."""
    try:
        entries = list((state_dir / "volumes").iterdir())
    except FileNotFoundError:
        return ()
    for entry in entries:
        if entry.name.endswith(".moved"):
            remove_tree(entry)
    return tuple(sorted(entry.name for entry in entries if entry.name[0] != "."))


def adopt(state_dir: Path, name: str) -> None:
    """Copy a volume into the store and remove the old one; HostError leaves it as it was.

    DataMissingError when what lies there is not the volume: then it must not replace one that is.
    """
    plain = state_dir / "volumes" / check_slug(name)
    Spaces(state_dir).find(name)
    top = mount_point(state_dir)
    quota = detect(top)
    quota.make(name)
    quota.limit(name, None)  # its limit is put in force with the next start or look
    beside, data = top / name / ".data.new", top / name / "data"
    for earlier in (
        beside,
        data,
    ):  # of a run that was cut short: the old directory is the newer one
        remove_tree(earlier)
    try:
        # Not Python's own copy: this keeps links, holes, attributes and ids, and never follows a link.
        run("cp", "--archive", "--", str(plain), str(beside), timeout=_COPY_SECONDS)
        run("sync", "--file-system", str(beside), timeout=_COPY_SECONDS)
    except HostError:
        remove_tree(beside)
        raise
    beside.rename(data)
    away = plain.with_name(f".{name}.moved")
    plain.rename(away)
    remove_tree(away)
