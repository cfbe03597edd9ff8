"""A hung, unplugged, damaged or half removed shop of a real Stoa: noticed in 90 s, named, and mended."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.config import host_config
from runtime.network import plan
from tests.stack.test_kills import cgroups_of, pids_in_cgroups
from tests.stoa import Stack

pytestmark = [pytest.mark.stack, pytest.mark.long]

NOTICED_SECONDS = 90.0
# Until all answer again: a start is asked for by a round of reconcile, and waits its turn.
MENDED_SECONDS = 240.0


def test_each_trouble_is_noticed_in_ninety_seconds_named_and_mended(stack: Stack) -> None:
    kinds = {
        "hung": "not_answering",
        "unplugged": "unplugged",
        "damaged": "damaged",
        "halved": "no_ceilings",
        "calm": "",
    }
    ids: dict[str, str] = {}
    for slug in kinds:
        before = {folder.name for folder in cgroups_of(stack, "ins_*")}
        made = stack.sign_up(slug)
        assert stack.wait(made["operation"]["id"])["state"] == "succeeded"
        (ids[slug],) = {folder.name for folder in cgroups_of(stack, "ins_*")} - before
    hosts = _shown(stack)
    ports = {one["instance_id"]: one["published_port"] for one in hosts}
    first = {one["instance_id"]: one["pid"] for one in hosts}

    began = time.monotonic()
    for pid in pids_in_cgroups(stack, ids["hung"]):
        os.kill(pid, signal.SIGSTOP)
    _lose_veth(stack, ports[ids["unplugged"]])
    _record(stack, ids["damaged"]).write_text("")
    _half_remove(stack, ids["halved"])

    noticed: dict[str, float] = {}
    while len(noticed) < len(kinds) - 1:
        for slug, kind in kinds.items():
            if kind and slug not in noticed and kind in _events(stack, slug):
                noticed[slug] = time.monotonic() - began
                print(f"{slug}: noticed after {noticed[slug]:.0f} s")
        assert time.monotonic() - began < NOTICED_SECONDS, noticed
        time.sleep(0.5)

    _until(lambda: all(stack.get(slug).status_code == 200 for slug in kinds), "all answer")
    _until(lambda: not any(_open(stack, slug) for slug in kinds), "nothing is open any more")
    pids = {one["instance_id"]: one["pid"] for one in _shown(stack)}
    restarted = {slug for slug, one in ids.items() if pids[one] != first[one]}
    assert restarted == {"hung", "halved"}
    assert _events(stack, "calm") == {}
    print(f"all mended after {time.monotonic() - began:.0f} s")


def _shown(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(stack.run("python", "-m", "runtime", "ps", "--json"))
    return found


def _record(stack: Stack, instance: str) -> Path:
    (found,) = stack.var.glob(f"**/instances/{instance}/instance.json")
    return found


def _lose_veth(stack: Stack, port: int) -> None:
    config = host_config({**stack.env, "STOA_HOST_NAME": "local"})
    subprocess.run(["ip", "link", "del", plan.veth_of(config, port)], check=True)


def _half_remove(stack: Stack, instance: str) -> None:
    """As somebody does by hand: its processes moved out of its cgroup, and that removed."""
    for folder in cgroups_of(stack, instance):
        top = next(one for one in folder.parents if (one.parent / "cgroup.procs").exists() is False)
        for pid in (folder / "cgroup.procs").read_text().split():
            (top / "cgroup.procs").write_text(pid)
        folder.rmdir()


def _events(stack: Stack, slug: str) -> dict[str, Any]:
    """The shop's events by kind."""
    found = stack.api.get(f"/api/v1/tenants/{slug}/events").json()["results"]
    return {one["kind"]: one for one in found}


def _open(stack: Stack, slug: str) -> list[str]:
    return [kind for kind, one in _events(stack, slug).items() if one["ended_at"] is None]


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + MENDED_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.5)
