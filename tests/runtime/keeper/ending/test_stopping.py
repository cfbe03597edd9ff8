"""Whoever means to do something about the stop signal has its time for it; who would do nothing has not."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from runtime.specs import Fence, InstanceSpec
from tests.runtime.hosts import ROOT, Host

pytestmark = pytest.mark.root

PROGRAM = Path(__file__).with_name("stopped")


@pytest.fixture(scope="module")
def program_layout() -> Path:
    """The image of the program that takes its stop signal in many ways."""
    cache = os.environ.get("STOA_CACHE", str(ROOT / "var/cache"))
    build = [str(ROOT / "images/build"), "--cache", cache, "--context", str(PROGRAM)]
    argv = [*build, "--name", "stopped"]
    said = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=300).stdout
    return Path(json.loads(said.splitlines()[-1])["layout"])


@pytest.fixture
def shops(host: Host, program_layout: Path) -> Host:
    """A host that has the image, its keeper running."""
    host.digest = host.images.import_layout(program_layout, "stopped")
    host.start_keeper()
    return host


def started(host: Host, number: int, mode: str) -> InstanceSpec:
    """A running container of that mode."""
    spec = host.spec(number, mode=mode, volume=f"v-{number}", health_path="")
    host.driver().ensure_running(spec, fence=Fence(1, 1))
    return spec


def test_a_stop_waits_for_everybody_who_takes_the_signal_and_for_nobody_else(shops: Host) -> None:
    saved = {}
    for number, mode in enumerate(("handler", "sigwait", "signalfd", "wrapped", "none")):
        spec = started(shops, number, mode)
        began = time.monotonic()
        shops.driver().ensure_stopped(spec.instance_id, fence=Fence(1, 2), grace_seconds=20)
        took = time.monotonic() - began
        # Nobody is waited for longer than for its last words, and who does nothing is not waited for.
        assert took < 10, mode
        names = ("last", "child")
        files = [shops.spaces.volume(spec.volume) / name for name in names]
        saved[mode] = any(file.exists() and file.read_text() == "saved" for file in files)
        assert shops.containers(spec) == 0
    assert saved == {
        "handler": True, "sigwait": True, "signalfd": True, "wrapped": True, "none": False,
    }  # fmt: skip


def test_one_who_ignores_the_signal_by_design_has_its_grace_and_then_ends(shops: Host) -> None:
    spec = started(shops, 0, "ignores")
    began = time.monotonic()
    shops.driver().ensure_stopped(spec.instance_id, fence=Fence(1, 2), grace_seconds=1.5)
    assert time.monotonic() - began >= 1.5
    assert shops.containers(spec) == 0


def test_a_program_that_was_stopped_by_a_signal_still_gets_to_its_last_words(shops: Host) -> None:
    spec = started(shops, 0, "handler")
    for pid in shops.cgroups.pids(spec.instance_id):
        os.kill(pid, signal.SIGSTOP)
    shops.driver().ensure_stopped(spec.instance_id, fence=Fence(1, 2), grace_seconds=20)
    assert (shops.spaces.volume(spec.volume) / "last").read_text() == "saved"
