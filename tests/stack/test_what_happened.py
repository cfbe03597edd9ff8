"""A shop crashes and runs out of memory on a real Stoa: its owner reads so, each once, with the exit code."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.stack.test_kills import cgroups_of, pids_in_cgroups
from tests.stoa import Stack

pytestmark = pytest.mark.stack

# The child is ended by the kernel; the command itself ends well.
_EATER = "import os; os.fork() or bytearray(2 ** 30); os.wait() and os._exit(0)"


def test_a_crash_and_an_end_for_want_of_memory_become_events_once(stack: Stack) -> None:
    before = instances(stack)
    made = stack.sign_up("unlucky")
    assert stack.wait(made["operation"]["id"])["state"] == "succeeded"
    (instance,) = instances(stack) - before
    stack.run("python", "-m", "runtime", "exec", instance, "--", "python3", "-c", _EATER)
    killed = wait_for(lambda: events(stack).get("oom_killed"))
    assert killed["count"] == 1
    for pid in pids_in_cgroups(stack, instance):
        os.kill(pid, signal.SIGKILL)
    ended = wait_for(lambda: events(stack).get("exited"))
    assert (ended["count"], ended["details"]["exit_code"]) == (1, 137)
    assert ended["instance"] == instance
    assert wait_for(lambda: stack.get("unlucky").status_code == 200)
    assert {kind: one["count"] for kind, one in events(stack).items()} == {
        "oom_killed": 1,
        "exited": 1,
    }


def instances(stack: Stack) -> set[str]:
    return {folder.name for folder in cgroups_of(stack, "ins_*")}


def events(stack: Stack) -> dict[str, Any]:
    """The shop's events by kind."""
    found = stack.api.get("/api/v1/tenants/unlucky/events").json()["results"]
    assert len({one["kind"] for one in found}) == len(found), found
    return {one["kind"]: one for one in found}


def wait_for(look: Callable[[], Any], *, seconds: float = 40) -> Any:
    """What look gives once it gives something; AssertionError after seconds."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
    return found
