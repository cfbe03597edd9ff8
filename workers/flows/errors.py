"""What can go wrong between control, edges and a shop, beside what the record and hosts may say.

FlowError               a wait may cure it; carries a stable code
├── BusyShopError       a request in flight does not end
├── EdgesSilentError    no edge serves just now, or a serving one did not take a route: waited for
│   └── EdgeRefusedError    a serving edge refused a route: no wait cures that
├── HostLostError       the host of a shop that visitors were led to is lost: a recovery brings it back
├── ShopSilentError     an edge did not get the shop's own answer
├── PortsTakenError     a host's ports are held by containers that the record does not know
├── NoCopyError         nothing is kept off a lost host that the shop could come back from
├── SwapFailedError     what was to take over did not come up
└── LeftoversError      a host has not yet said that nothing of an instance is left there

WaitError (tenants/errors.py)
├── UndoError           a part of the way back cannot be gone yet
├── DataAwaitedError    a copy, or what it takes to load one, is not there yet
└── HostAwaitedError    only the host can say which data a shop has; nothing is decided before it does
"""

from tenants.errors import WaitError

# Codes with which a restore ends although the newer data is not back: they say which data the shop has.
LEFT_OLDER = "left_older"
LEFT_UNSURE = "left_unsure"


class DataAwaitedError(WaitError):
    """A copy of a shop's data, or what it takes to load one, is not there yet."""

    code = "data_waiting"
    pause_seconds = 5.0


class FlowError(Exception):
    """Something between control, edges and a shop is not as it should be yet."""

    code = "flow"
    message: str

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BusyShopError(FlowError):
    """Requests in flight did not end within the time that others can be kept waiting for them."""

    code = "busy_shop"


class EdgesSilentError(FlowError, WaitError):  # type: ignore[misc] # its message is plain text
    """No edge serves just now, or a serving one did not take a route: a moment behind, most often."""

    code = "edges_silent"
    longest_seconds = 600.0
    pause_seconds = 1.0


class EdgeRefusedError(EdgesSilentError):
    """A serving edge refused a route; it counts as a silent one, but no wait cures it."""

    code = "edge_refused"
    longest_seconds = 0.0


class HostLostError(FlowError):
    """The host of a sign-up's shop is lost, and visitors were led there: only a recovery brings it back."""

    code = "host_lost"


class ShopSilentError(FlowError):
    """An edge did not get the shop's own answer."""

    code = "shop_silent"


class PortsTakenError(FlowError):
    """Containers that the record does not know hold the ports of a host that were tried."""

    code = "ports_taken"


class NoCopyError(FlowError):
    """Nothing is kept off a lost host that the shop could come back from."""

    code = "no_copy"


class SwapFailedError(FlowError):
    """Under a hold the new container could not be brought up; the old one is to be brought back."""

    code = "swap_failed"


class LeftoversError(FlowError):
    """A host has not yet said that nothing of an instance is left there."""

    code = "leftovers"


class UndoError(WaitError):
    """What was begun cannot be undone yet; that is tried until it can."""

    code = "undoing"
    pause_seconds = 5.0


class HostAwaitedError(WaitError):
    """Only the host can say which data a shop has; nothing is decided before it does."""

    code = "host_awaited"
    pause_seconds = 5.0
