"""What an installer prints: each step with the seconds since the first, and errors with what to do."""

import sys
import time
from typing import TextIO


class InstallError(Exception):
    """Ends an installation. remedies: what to do about it, a line each."""

    def __init__(self, message: str, *remedies: str) -> None:
        super().__init__("\n  ".join((message, *remedies)))


class Steps:
    """Prints steps, and the time since this was made. output: where; None prints nothing."""

    def __init__(self, output: TextIO | None) -> None:
        self._output = output
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print that this step begins."""
        self.line(f"[{time.monotonic() - self._began:4.1f} s] {text}")

    def note(self, text: str) -> None:
        """Print what is worth knowing beside a step."""
        self.line(f"  note: {text}")

    def line(self, text: str) -> None:
        """Print a line that is no step."""
        if self._output:
            print(text, file=self._output, flush=True)


def complain(text: str) -> None:
    """Print what went wrong, for people who will read it beside an error."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)
