"""The driver for hosts that run containers with crun, as a client of the keeper."""

from runtime.crun.driver import CrunDriver

__all__ = ["CrunDriver"]
