"""Days of PlanetLab (CoMon) as the simulator reads them: one row per machine, 288 readings in percent.

The traces carry no licence and are not part of the product: they are read from a folder given by name.
Cite Beloglazov and Buyya, CCPE 24(13), 2012, and Park and Pai, CoMon, ACM OSR 2006.
"""

from pathlib import Path

import numpy as np

from workers.simulator.cloudsim import STEPS, Floats


def days(folder: Path) -> tuple[str, ...]:
    """The days that are there, by name."""
    return tuple(sorted(file.stem for file in folder.glob("2011*.csv")))


def read_day(folder: Path, day: str) -> Floats:
    """Shares from 0 to 1, one row per machine; ValueError names a line that is not a day's."""
    rows = []
    for number, line in enumerate((folder / f"{day}.csv").read_text().splitlines(), 1):
        values = line.split(",")[1:]
        if len(values) != STEPS:
            raise ValueError(
                f"{folder / day}.csv, line {number}: {len(values)} readings where a day has {STEPS}"
            )
        rows.append([float(value) / 100 for value in values])
    return np.array(rows)
