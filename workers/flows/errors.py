"""What can go wrong between control, edges and a shop, beside what the record and hosts may say.

FlowError               a wait may cure it; carries a stable code
├── EdgesSilentError    no edge serves just now, or a serving one did not take a route
├── ShopSilentError     an edge did not get the shop's own answer
└── NoCopyError         nothing is kept off a lost host that the shop could come back from
"""


class FlowError(Exception):
    """Something between control, edges and a shop is not as it should be yet."""

    code = "flow"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class EdgesSilentError(FlowError):
    """No edge serves just now, or a serving one did not take a route."""

    code = "edges_silent"


class ShopSilentError(FlowError):
    """An edge did not get the shop's own answer."""

    code = "shop_silent"


class NoCopyError(FlowError):
    """Nothing is kept off a lost host that the shop could come back from."""

    code = "no_copy"
