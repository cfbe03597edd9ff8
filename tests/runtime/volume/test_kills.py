"""Whoever is killed while a volume is put away or fetched leaves the old state or the new one."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.units import MIB
from runtime.volume import capture
from runtime.volume.keeping import SnapshotNotes
from runtime.volume.volumes import _noted
from tests.runtime.volume.conftest import Place

pytestmark = pytest.mark.root

TIMES = 12


def killed_somewhere(work: Callable[[], object], *, within: float, dice: random.Random) -> bool:
    """Run the work in a process of its own and kill it at a random moment; whether it had ended."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    time.sleep(dice.random() * within)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def sha(tree: Path, tmp_path: Path) -> str:
    return _noted(tree, tmp_path / "manifest")


def sweep(place: Place) -> None:
    """As an agent does when it begins."""
    SnapshotNotes(place.state_dir).sweep()
    capture.sweep(place.state_dir / "store")


def test_a_load_that_is_killed_leaves_the_old_state_or_the_new_one(
    place: Place, tmp_path: Path
) -> None:
    dice = random.Random(7)
    top = place.volume()
    for number in range(60):
        (top / f"file{number}").write_bytes(dice.randbytes(60_000))
    place.save()
    began = time.monotonic()
    place.load()
    took = time.monotonic() - began
    new = sha(place.spaces.volume("copy"), tmp_path)
    copy = place.spaces.volume("copy")
    ended = 0
    for _ in range(TIMES):
        place.begin_to_run("copy")
        (copy / "file3").write_bytes(b"what the shop wrote since")
        old = sha(copy, tmp_path)
        ended += killed_somewhere(place.load, within=1.5 * took, dice=dice)
        assert sha(copy, tmp_path) in {old, new}
    sweep(place)
    place.load()
    assert sha(copy, tmp_path) == new
    assert list((place.state_dir / "snapshots" / ".work").iterdir()) == []
    assert not any(one.name.endswith(".load") for one in copy.parent.iterdir())
    assert ended < TIMES  # some were killed in the middle


def test_a_save_that_is_killed_spoils_no_later_one(place: Place, tmp_path: Path) -> None:
    dice = random.Random(11)
    top = place.volume()
    (top / "large").write_bytes(dice.randbytes(4 * MIB))
    place.save()
    for number in range(TIMES):
        (top / f"order{number}").write_bytes(b"one more")
        killed_somewhere(place.save, within=0.2, dice=dice)
    sweep(place)
    place.count = 100
    place.save()
    assert sha(place.load(), tmp_path) == sha(top, tmp_path)
    assert list((place.state_dir / "snapshots" / ".work").iterdir()) == []
    left = place.state_dir / "store" / ".snapshots"
    assert not left.exists() or list(left.iterdir()) == []
