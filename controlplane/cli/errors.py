"""Exit codes: 0 well, 1 failed, 2 not understood, 3 not there, 4 its state does not allow it."""

FAILED, USAGE, NOT_FOUND, CONFLICT = 1, 2, 3, 4

_BY_STATUS = {400: USAGE, 404: NOT_FOUND, 409: CONFLICT, 422: USAGE}


class CliError(Exception):
    """Ends a command with a message; code is the exit code."""

    def __init__(self, message: str, *, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def of_status(status: int, message: str) -> CliError:
    """Return the error for an HTTP answer."""
    return CliError(message, code=_BY_STATUS.get(status, FAILED))
