"""How containers of this host reach the world, and how edges reach them.

One /32 address and veth pair per container, one nftables table per host, one map for all published ports
and one for the limits of all tenants.
"""

from runtime.network.container import Endpoint, connect, disconnect, limit, withdraw
from runtime.network.counting import Counters, counters
from runtime.network.host import ensure_host, remove_host, resolver
from runtime.network.plan import address_for
from runtime.network.plugging import replug
from runtime.network.repair import repair
from runtime.network.table import generation, handle, published

__all__ = [
    "Counters",
    "Endpoint",
    "address_for",
    "connect",
    "counters",
    "disconnect",
    "ensure_host",
    "generation",
    "handle",
    "limit",
    "published",
    "remove_host",
    "repair",
    "replug",
    "resolver",
    "withdraw",
]
