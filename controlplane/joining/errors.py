"""What can keep a machine from joining; each says what to do.

JoiningError
├── TokenTextError    the token is not one, or was not copied whole
├── UnreachableError  nobody answers there
├── TrustError        what answers there is not the control plane the token names: nothing was sent
├── RefusedError      the control plane says no
└── UnfitError        this machine will not do; carries every reason
"""


class JoiningError(Exception):
    """Root of what a join or a leave may end with."""


class TokenTextError(JoiningError):
    """The token is not one, or was not copied whole."""


class UnreachableError(JoiningError):
    """Nobody answers there, or not for long enough."""


class TrustError(JoiningError):
    """Whoever answers is not who the token names; no secret was sent."""


class RefusedError(JoiningError):
    """The control plane says no. status: of its HTTP answer."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnfitError(JoiningError):
    """This machine will not do. reasons: all of them, with remedies."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__(f"this machine cannot be a host yet, for {len(reasons)} reasons")
        self.reasons = reasons
