"""How much of the host's disk an instance may fill, and where what it writes lies.

An instance writes to two places: its own layer and its tenant's volume. Together they are its
*space*, and one limit holds for both. Which file system can enforce it is asked of the file
system: btrfs (quota groups), XFS or ext4 with project quotas; elsewhere it is measured only.
"""

from runtime.disk.grants import next_limit, state_of
from runtime.disk.loop import place, remount
from runtime.disk.spaces import Spaces, WritableLayer, space_of
from runtime.disk.watermarks import Watermarks, conditions, watermarks

__all__ = [
    "Spaces",
    "Watermarks",
    "WritableLayer",
    "conditions",
    "next_limit",
    "place",
    "remount",
    "space_of",
    "state_of",
    "watermarks",
]
