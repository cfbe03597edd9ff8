"""What the scheduler is told and what it answers: frozen values that tests can compare."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount of everything that can run out on a host."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0

    def plus(self, other: "Resources") -> "Resources":
        """Both together."""
        return Resources(
            self.cpu_millis + other.cpu_millis,
            self.memory_bytes + other.memory_bytes,
            self.disk_bytes + other.disk_bytes,
        )


@dataclass(frozen=True, slots=True)
class HostView:
    """A host at the moment of the decision.

    offered: capacity less the host's own reserve. booked: demands of what is placed there.
    is_open: an operator lets new instances in. is_seen: it reported in the last seconds.
    disk_trouble: what it says is wrong with its disks, as a sentence; "" for nothing.
    """

    id: int
    name: str
    is_open: bool
    is_seen: bool
    offered: Resources
    booked: Resources
    disk_trouble: str = ""


@dataclass(frozen=True, slots=True)
class InstanceView:
    """What is to be placed: its id and what it is expected to use."""

    id: str
    demand: Resources


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one host will not do, as a sentence for an operator."""

    host_name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.host_name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Placed:
    """Where to go: host ids, best first, so that a host that filled up meanwhile can be skipped."""

    candidates: tuple[int, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Nowhere to go. is_unseen: no host could be looked at, which says nothing about room."""

    refusals: tuple[Refusal, ...]
    is_unseen: bool


Decision = Placed | Unplaced
