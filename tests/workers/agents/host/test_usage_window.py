"""Five minutes of samples in one window: means, peaks and counts, across restarts of containers."""

import pytest

from runtime.errors import SpecInvalidError
from runtime.units import Sample, UsageWindow
from runtime.wire import from_wire, to_wire
from workers.agents.host.usage_window import Windows


def sample(name: str, *, nanos: int, memory: int = 10, tx: int = 0, kills: int = 0) -> Sample:
    return Sample(name, nanos, 0, memory, memory, kills, 1, 0, tx, 5)


def test_there_is_no_window_before_the_first_has_ended() -> None:
    windows = Windows()
    for step in range(30):
        windows.note(1000 + 10 * step, [sample("a", nanos=0)])
    assert windows.last(1300) is None


def test_a_window_holds_the_mean_the_peak_and_what_was_sent() -> None:
    windows = Windows()
    nanos = tx = 0
    for step in range(31):
        burst = 10_000_000_000 if step == 7 else 100_000_000  # a whole core once, else a hundredth
        nanos, tx = nanos + burst, tx + 1000
        memory = 99 if step == 12 else 10
        windows.note(1000 + 10 * step, [sample("a", nanos=nanos, memory=memory, tx=tx)])
    window = windows.last(1304)
    assert window is not None
    assert (window.number, window.seconds, window.age_seconds) == (1, 300.0, 4.0)
    assert window.cpu_micros == (round((29 * 0.1 + 10) / 300 * 1e6),)
    assert window.cpu_peak_micros == (1_000_000,)
    assert window.memory_peak_bytes == (99,)
    assert window.tx_bytes == (30_000,)
    assert window.disk_bytes == (5,)


def test_a_container_that_began_anew_is_not_counted_backwards() -> None:
    windows = Windows(seconds=20)
    windows.note(0, [sample("a", nanos=10**12, kills=3)])
    windows.note(10, [sample("a", nanos=2 * 10**9, kills=1)])
    windows.note(20, [sample("a", nanos=3 * 10**9, kills=1)])
    window = windows.last(20)
    assert window is not None
    assert window.cpu_micros == (150_000,)
    assert window.oom_kills == (1,)


def test_the_next_window_begins_where_the_last_ended() -> None:
    windows = Windows(seconds=10)
    windows.note(0, [sample("a", nanos=0, memory=50)])
    windows.note(10, [sample("a", nanos=10**9, memory=20)])
    windows.note(20, [sample("a", nanos=2 * 10**9, memory=20), sample("b", nanos=9)])
    window = windows.last(20)
    assert window is not None
    assert (window.number, window.instance_ids) == (2, ("a", "b"))
    assert window.cpu_micros == (100_000, 0)
    assert window.memory_peak_bytes == (20, 10)


def test_a_window_whose_columns_differ_in_length_is_refused() -> None:
    windows = Windows(seconds=10)
    windows.note(0, [sample("a", nanos=0)])
    windows.note(10, [sample("a", nanos=1)])
    told = to_wire(windows.last(10))
    assert isinstance(told, dict)
    from_wire(UsageWindow, told).check()
    with pytest.raises(SpecInvalidError, match="tx_bytes has 2 entries"):
        from_wire(UsageWindow, told | {"tx_bytes": [1, 2]}).check()
