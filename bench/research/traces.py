"""Usage traces: what machines used every five minutes, and what they were sold.

Bitbrains GWA-T-12 "Rnd" (Shen, van Beek, Iosup, CCGrid 2015, doi:10.1109/CCGrid.2015.60) comes from the
Grid Workloads Archive, which publishes it for research; it is read from a directory and never copied.
"""

import csv
import gzip
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from workers.scheduler.demand_vector import F32

WINDOWS_PER_HOUR = 12
WEEK = 168 * WINDOWS_PER_HOUR
_MIB = 1024.0 * 1024.0
# A core of the hosts that the trace is packed on.
MHZ_PER_CORE = 2600.0


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """cpu [n, windows] millicores and memory [n, windows] bytes, NaN where nothing was measured.

    limits [n, 4]: in the order of demand_vector.RESOURCES, 0 for none. start: the hour of the first window.
    """

    cpu: F32
    memory: F32
    ceilings: F32
    start: int

    def __len__(self) -> int:
        return len(self.cpu)

    @property
    def weeks_in_all(self) -> int:
        """How many whole weeks it holds."""
        return int(self.cpu.shape[1] // WEEK)

    def sold_for(self, cpu_millis: float, memory_bytes: float) -> "Trace":
        """The same machines, none sold more than a host has: nobody sells what there is not."""
        most = np.array([cpu_millis, memory_bytes, np.inf, np.inf], np.float32)
        return replace(self, ceilings=np.minimum(self.ceilings, most))

    def weeks(self, first: int, last: int) -> "Trace":
        """Weeks counted from 1, both included."""
        part = slice((first - 1) * WEEK, last * WEEK)
        start = self.start + (first - 1) * WEEK // WINDOWS_PER_HOUR
        return Trace(self.cpu[:, part], self.memory[:, part], self.ceilings, start)


def bitbrains(directory: Path) -> Trace:
    """The machines of vms.csv; samples beyond a machine's clock (2 % of them) are cut to it."""
    with (directory / "vms.csv").open() as file:
        rows = list(csv.DictReader(file))
    sold = np.zeros((len(rows), 4), np.float32)
    sold[:, 0] = [float(row["cores"]) * 1000 for row in rows]
    sold[:, 1] = [float(row["mem_cap_mib"]) * _MIB for row in rows]
    ids = [row["vm"] for row in rows]
    most = np.array([[float(row["cpu_cap_mhz"])] for row in rows], np.float32) * 1000 / MHZ_PER_CORE
    cpu = _series(directory / "cpu_mhz.csv.gz", ids) * np.float32(1000 / MHZ_PER_CORE)
    memory = _series(directory / "mem_mib.csv.gz", ids) * np.float32(_MIB)
    # 2013-08-01 00:00 UTC: the first window's hour.
    return Trace(np.minimum(cpu, most), memory, sold, start=1375308000 // 3600)


def _series(path: Path, ids: list[str]) -> F32:
    found: dict[str, list[float]] = {}
    with gzip.open(path, "rt") as file:
        for line in file:
            name, *values = line.rstrip("\n").split(",")
            found[name] = [float(value) if value else np.nan for value in values]
    return np.array([found[name] for name in ids], np.float32)
