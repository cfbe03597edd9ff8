"""How full a file system is, as df shows it."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Fill:
    """Used and free bytes of a file system; what only root may fill is neither."""

    used_bytes: int
    free_bytes: int

    @property
    def percent(self) -> int:
        """Return how much of it is used, in percent."""
        whole = self.used_bytes + self.free_bytes
        return self.used_bytes * 100 // whole if whole else 100


def fill_of(place: Path) -> Fill:
    """Return how full the file system of this place is."""
    found = os.statvfs(place)
    return Fill(
        used_bytes=(found.f_blocks - found.f_bfree) * found.f_frsize,
        free_bytes=found.f_bavail * found.f_frsize,
    )
