"""The queue of starts: never more at a time than the machine bears, each in its turn."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from runtime.bundle import Desired, InstanceDirectory, InstanceRecord, Program
from runtime.keeper.logs import LogReader
from runtime.keeper.loop import Loop
from runtime.keeper.starting.launch import Launcher
from runtime.keeper.starting.start_queue import STARTS_AT_ONCE, Outcome, Starts
from runtime.keeper.supervised import Supervised
from runtime.specs import InstanceSpec
from runtime.units import MIB, Limits

COUNT = 200


class Ramp:
    """In place of a launcher: a start lasts until the ramp is told to let it go."""

    def __init__(self, state_dir: Path) -> None:
        self.config = SimpleNamespace(state_dir=state_dir)
        self.cgroups = SimpleNamespace(oom_kills=lambda _one: 0, leave=lambda _one: None)
        self.begun: list[str] = []
        self.under_way: list[int] = []
        self.most = 0

    def fork(self, record: InstanceRecord, *, keep_layers: bool) -> tuple[int, int]:
        report, answer = os.pipe()
        self.begun.append(record.spec.instance_id)
        self.under_way.append(answer)
        self.most = max(self.most, len(self.under_way))
        return 100_000 + len(self.begun), report

    def let_one_go(self, *, killed: bool) -> None:
        answer = self.under_way.pop(0)
        if not killed:
            os.write(answer, json.dumps({"pid": 1, "timings_ms": {}}).encode() + b"\n")
        os.close(answer)


def test_many_starts_at_once_begin_a_few_at_a_time_in_the_order_they_came(
    tmp_path: Path,
) -> None:
    loop, ramp, outcomes = Loop(), Ramp(tmp_path), list[Outcome]()
    starts: Starts
    starts = Starts(
        loop,
        cast(Launcher, ramp),
        lambda kept: starts.launch(kept),  # noqa: PLW0108 - it is made by this very line
        lambda _kept, outcome: outcomes.append(outcome),
    )
    names = [f"ins_storm{number:05d}" for number in range(COUNT)]
    spec = InstanceSpec(names[0], "shop", "sha256:" + "1" * 64, 21000, Limits(1, MIB, 1, MIB))
    record = InstanceRecord(spec, "/", Program(("x",), (), "/", 0, 0), Desired.RUNNING)
    for name in names:
        named = replace(record, spec=replace(spec, instance_id=name))
        InstanceDirectory.of(tmp_path, name).write(named)
        # Logs play no part here.
        starts.enqueue(Supervised(name, cast(LogReader, None)))

    def step() -> None:
        if not ramp.under_way:
            loop.stop()
            return
        # Every tenth launcher dies without a word: its place is free again, too.
        ramp.let_one_go(killed=len(outcomes) % 10 == 9)
        loop.after(0, step)

    loop.after(0, step)
    loop.run()
    assert len(outcomes) == COUNT
    assert outcomes.count({}) == COUNT // 10
    assert ramp.begun == names
    assert ramp.most == STARTS_AT_ONCE


def test_who_leaves_the_queue_has_no_turn(tmp_path: Path) -> None:
    turns: list[Supervised] = []
    ramp = Ramp(tmp_path)
    starts = Starts(Loop(), cast(Launcher, ramp), turns.append, lambda _kept, _outcome: None)
    starts.hold()
    leaving, staying = (
        Supervised(f"ins_storm0000{number}", cast(LogReader, None)) for number in "12"
    )
    starts.enqueue(leaving)
    starts.enqueue(staying)
    starts.leave(leaving)
    starts.release()
    assert turns == [staying]
    assert starts.is_quiet
