"""What a suite of promises is run against."""

from abc import abstractmethod

from runtime.driver import Driver
from runtime.specs import Fence, InstanceSpec

FIRST = Fence(1, 1)


class Subject:
    """A driver under test and what the suite needs to know of its world."""

    driver: Driver

    @abstractmethod
    def spec(self, number: int = 0, **changes: object) -> InstanceSpec:
        """A spec that runs well; mode="ends" ends with 3 at once, mode="sick" never gets healthy."""

    @abstractmethod
    def spare_image(self, *, is_young: bool = False) -> str:
        """Put an image that no instance uses onto the host; asked for just now, or hours ago."""

    @abstractmethod
    def volume_exists(self, name: str) -> bool:
        """Whether the volume is there."""

    @abstractmethod
    def write(self, volume: str, name: str, content: bytes) -> None:
        """Write a file of a volume that is there, as its tenant would."""

    @abstractmethod
    def read(self, volume: str) -> dict[str, bytes]:
        """Every file of a volume."""
