"""The command line of a host: what runs here, what it says, what it uses, as people know it from Docker."""

from runtime.cli.parser import main

__all__ = ["main"]
