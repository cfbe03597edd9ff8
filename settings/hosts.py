"""Settings of hosts, and of the further hosts that try a pool out on one machine."""

import os

from settings import kinds
from settings.kinds import number, optional
from settings.setting import (
    BIN,
    CONTROL,
    EDGE,
    HOST,
    NEVER,
    NOTHING,
    ON_HOSTS,
    WHILE_STOPPED,
    WITHOUT_SHOPS,
    Change,
    Setting,
    WorkedOut,
)

# --- This machine as a host and an edge -------------------------------------------------------------
HOST_NAME = Setting(
    "STOA_HOST_NAME",
    kinds.NAME,
    "local",
    "this machine's name as a host",
    BIN | CONTROL | ON_HOSTS,
    change=Change(NEVER, "the record, its secrets and its data on disk go by it"),
)
SUBNET = Setting(
    "STOA_SUBNET",
    kinds.NETWORK,
    "100.96.0.0/16",
    "the network of containers; its first address is the host's own",
    BIN | CONTROL | ON_HOSTS | EDGE,
    change=Change(WITHOUT_SHOPS, "its shops have their addresses there"),
)
PORTS = Setting(
    "STOA_PORTS",
    kinds.PORTS,
    "10000-32767",
    "where shops are published, at the host's own address; a further host takes the first 760",
    BIN | CONTROL | ON_HOSTS | EDGE,
    change=Change("where the first port stays and the range holds all ports that shops have"),
)
PROBE_PORT = Setting(
    "STOA_PROBE_PORT",
    number(1024, 65535),
    "9797",
    "where a host's keeper listens for edges that ask whether the machine lives; outside STOA_PORTS",
    BIN | ON_HOSTS | CONTROL,
    change=Change(WHILE_STOPPED, "edges know its hosts by this port"),
)
EDGE_ADDRESSES = Setting(
    "STOA_EDGE_ADDRESSES",
    kinds.ADDRESSES,
    NOTHING,
    "public addresses of edges: tenants reach them on 80 and 443 even where they are private",
    CONTROL | ON_HOSTS,
)
EDGE_SOURCES = Setting(
    "STOA_EDGE_SOURCES",
    kinds.NETWORKS,
    NOTHING,
    "from where edges on **other** machines connect to published ports; this machine itself always may,"
    " nobody else",
    CONTROL | ON_HOSTS,
)
RESOLVER = Setting(
    "STOA_RESOLVER",
    optional(kinds.RESOLVER),
    WorkedOut("that of /etc/resolv.conf"),
    "the name server that tenants' questions are passed on to; needed where the machine's own listens on"
    " loopback only",
    ON_HOSTS,
)
STORE_BYTES = Setting(
    "STOA_STORE_BYTES",
    optional(kinds.STORE_BYTES),
    WorkedOut("half of what may be taken, at most 20G"),
    "the size of the store for shops' data, which keeps them below their disk limits; 0 makes none",
    BIN,
    unit="bytes",
    change=Change("when the store is made; later `python -m runtime store grow`"),
)
DISK_LOW_PERCENT = Setting(
    "STOA_DISK_LOW_PERCENT",
    number(1, 100),
    "85",
    "from when a host's disk is low: an alarm, and no new shops",
    HOST,
    unit="per cent in use",
)
DISK_FULL_PERCENT = Setting(
    "STOA_DISK_FULL_PERCENT",
    number(1, 100),
    "95",
    "from when a host's disk is full; not below STOA_DISK_LOW_PERCENT",
    HOST,
    unit="per cent in use",
)
REGISTRY_AUTH_FILE = Setting(
    "STOA_REGISTRY_AUTH_FILE",
    optional(kinds.PATH),
    NOTHING,
    "a docker-style file of logins for registries, mode 0600; `skopeo login --authfile FILE` writes it",
    HOST | CONTROL,
)
REGISTRY_CA_DIR = Setting(
    "STOA_REGISTRY_CA_DIR",
    optional(kinds.PATH),
    NOTHING,
    "a directory of `*.crt` to believe beside the system's, for registries with a CA of your own",
    HOST | CONTROL,
)
# --- Further hosts on this machine, to try a pool out -----------------------------------------------
HOSTS = Setting(
    "STOA_HOSTS",
    number(1, 8),
    "1",
    "this machine as so many hosts, as `bin/up --hosts N`",
    BIN | EDGE,
    change=Change(
        "more at any time; fewer when the hosts that end are empty (`bin/stoa host drain host3` first,"
        " `bin/stoa host remove host3` afterwards)"
    ),
)
LAB_SUBNET = Setting(
    "STOA_LAB_SUBNET",
    kinds.LAB_NETWORK,
    "198.18.0.0/19",
    "the further hosts' own network; none of it leaves the machine",
    BIN | EDGE,
    change=Change("while there are no shops on these hosts"),
)
LAB_CPU_MILLIS = Setting(
    "STOA_LAB_CPU_MILLIS",
    number(1000, 10**12),
    WorkedOut("all of the machine's", lambda _: str(1000 * len(os.sched_getaffinity(0)))),
    "processor time of each of them",
    BIN,
    unit="thousandths of a core",
)
LAB_MEMORY_BYTES = Setting(
    "STOA_LAB_MEMORY_BYTES",
    number(10**6, 10**15),
    str(4 * 2**30),
    "memory of each of them",
    BIN,
    unit="bytes",
)
LAB_STORE_BYTES = Setting(
    "STOA_LAB_STORE_BYTES",
    kinds.STORE_BYTES,
    "2G",
    "the store of each of them",
    BIN,
    unit="bytes",
)
