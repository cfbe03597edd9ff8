"""Looks whether the files that all containers share are whole: their name server is in one of them."""

from runtime import rootfs
from runtime.config import HostConfig
from runtime.keeper.loop import Loop
from runtime.keeper.processes import say

EVERY_SECONDS = 30.0


class FurnitureWatch:
    """Begin with `look`, which comes back by itself. Starts look for themselves (starting/launch.py)."""

    def __init__(self, loop: Loop, config: HostConfig) -> None:
        self._loop = loop
        self._config = config

    def look(self) -> None:
        """Make whole what is not, in place, so that containers that run see it too."""
        self._loop.after(EVERY_SECONDS, self.look)
        try:
            rootfs.ensure_furniture(self._config)
        except OSError as error:
            say(f"what containers share cannot be made whole: {error}")
