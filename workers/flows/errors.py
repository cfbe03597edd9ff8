"""What can go wrong between control, edges and a shop, beside what the record and hosts may say.

FlowError               a wait may cure it; carries a stable code
├── BusyShopError       a request in flight does not end
├── EdgesSilentError    no edge serves just now, or a serving one did not take a route: waited for
├── RouteRefusedError   an edge does not take the route, now or later
├── ShopSilentError     an edge did not get the shop's own answer
├── NoCopyError         nothing is kept off a lost host that the shop could come back from
├── SwapFailedError     what was to take over did not come up
└── LeftoversError      a host has not yet said that nothing of an instance is left there
"""

from tenants.errors import WaitError


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


class RouteRefusedError(FlowError):
    """An edge says that it will never take this route."""

    code = "route_refused"


class ShopSilentError(FlowError):
    """An edge did not get the shop's own answer."""

    code = "shop_silent"


class NoCopyError(FlowError):
    """Nothing is kept off a lost host that the shop could come back from."""

    code = "no_copy"


class SwapFailedError(FlowError):
    """Under a hold the new container could not be brought up; the old one is to be brought back."""

    code = "swap_failed"


class LeftoversError(FlowError):
    """A host has not yet said that nothing of an instance is left there."""

    code = "leftovers"
