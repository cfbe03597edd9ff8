"""How containers of this host reach the world, and how edges reach them.

One /32 address and veth pair per container, one nftables table per host, one map for all published ports.
"""

from runtime.network.container import attach, detach, publish, unpublish
from runtime.network.counting import Counters, counters
from runtime.network.host import Listing, ensure_host, listing, published, remove_host
from runtime.network.plan import address_for

__all__ = [
    "Counters",
    "Listing",
    "address_for",
    "attach",
    "counters",
    "detach",
    "ensure_host",
    "listing",
    "publish",
    "published",
    "remove_host",
    "unpublish",
]
