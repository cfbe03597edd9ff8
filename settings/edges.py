"""Settings of edges."""

from collections.abc import Mapping
from ipaddress import IPv4Network

from settings import common, hosts, kinds
from settings.kinds import number, optional
from settings.setting import BIN, CONTROL, EDGE, NEVER, NOTHING, Change, Setting, WorkedOut

# --- The edge ---------------------------------------------------------------------------------------
NAME = Setting(
    "STOA_EDGE_NAME",
    kinds.NAME,
    "local",
    "this machine's name as an edge",
    BIN | CONTROL | EDGE,
    change=Change(NEVER, "the record and its secrets go by it"),
)
NETWORKS = Setting(
    "STOA_EDGE_NETWORKS",
    kinds.NETWORKS,
    WorkedOut(
        "STOA_SUBNET, with the /24 of STOA_POOL_ADDRESS or, where there are further hosts, STOA_LAB_SUBNET",
        lambda environ: ",".join(_neighbours(environ)),
    ),
    "where edges route to, and so where hosts may publish ports",
    BIN | CONTROL | EDGE,
)
HELD_PER_TENANT = Setting(
    "STOA_EDGE_HELD_PER_TENANT",
    number(1, 9999),
    "200",
    "requests of one shop that an edge holds at once while the shop moves; it refuses more, with Retry-After",
    EDGE,
)
MAXCONN = Setting(
    "STOA_EDGE_MAXCONN",
    optional(number(100, 65535)),
    WorkedOut("8,000, or what open files allow"),
    "connections of visitors that an edge takes at once",
    EDGE,
)
TENANT_CONNECTIONS = Setting(
    "STOA_EDGE_TENANT_CONNECTIONS",
    optional(number(1, 65535)),
    WorkedOut("an eighth of what open files allow, at least 100"),
    "requests of one shop at once; beyond it 429",
    EDGE,
)
SOURCE_CONNECTIONS = Setting(
    "STOA_EDGE_SOURCE_CONNECTIONS",
    optional(number(1, 65535)),
    WorkedOut("a twentieth of STOA_EDGE_MAXCONN, 50 to 200"),
    "connections of one visitor's address at once; an IPv6 network of 64 bits is one address",
    EDGE,
)
SOURCE_REQUESTS = Setting(
    "STOA_EDGE_SOURCE_REQUESTS",
    number(1, 65535),
    "5000",
    "requests, and new connections, of one address",
    EDGE,
    unit="in ten seconds",
)
PROXIES = Setting(
    "STOA_EDGE_PROXIES",
    kinds.PROXIES,
    NOTHING,
    "networks of proxies in front of the edge, which are believed whom they speak for",
    EDGE,
)
PROXY_PORT = Setting(
    "STOA_EDGE_PROXY_PORT",
    optional(kinds.PORT),
    NOTHING,
    "a further port on which these proxies speak the PROXY protocol",
    EDGE | BIN,
)
PAGE_SECONDS = Setting(
    "STOA_EDGE_PAGE_SECONDS",
    number(1, 3600),
    "60",
    "how long somebody who looks at a page waits for it",
    EDGE,
    unit="seconds",
)
SILENT_SECONDS = Setting(
    "STOA_EDGE_SILENT_SECONDS",
    number(60, 65535),
    "3600",
    "how long a stream, a long poll or a WebSocket may be silent",
    EDGE,
    unit="seconds",
)


def _neighbours(environ: Mapping[str, str]) -> list[str]:
    found, pool = [str(hosts.SUBNET.of(environ))], common.POOL_ADDRESS.of(environ)
    if hosts.HOSTS.of(environ) > 1:
        found.append(str(hosts.LAB_SUBNET.of(environ)))
    elif pool:
        found.append(str(IPv4Network((pool, 24), strict=False)))
    return found
