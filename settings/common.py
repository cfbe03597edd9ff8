"""Where a Stoa is reached, and what it is called: read by almost everybody."""

from settings import kinds
from settings.kinds import number, one_of, optional
from settings.setting import (
    BIN,
    CLI,
    CONTROL,
    EDGE,
    NOTHING,
    ON_HOSTS,
    REDIS,
    WHILE_STOPPED,
    WITHOUT_SHOPS,
    Change,
    Setting,
    WorkedOut,
)

# --- Where people reach it --------------------------------------------------------------------------
HTTP_PORT = Setting(
    "STOA_HTTP_PORT", kinds.PORT, "8080", "where the edge listens", BIN | CONTROL | EDGE | CLI
)
DOMAIN = Setting(
    "STOA_DOMAIN",
    kinds.HOSTNAME,
    "localhost",
    "shops are at `<slug>.<domain>`; in production not the domain of the platform's own pages",
    CONTROL | BIN,
    change=Change(WITHOUT_SHOPS, "its shops are known by names below it"),
)
CONSOLE_HOST = Setting(
    "STOA_CONSOLE_HOST",
    kinds.HOSTNAME,
    "localhost",
    "the name of the platform's own pages",
    CONTROL | EDGE | BIN | CLI,
)
PUBLIC_SCHEME = Setting(
    "STOA_PUBLIC_SCHEME",
    one_of("http", "https"),
    "http",
    "what people see: `https` when a TLS proxy stands in front, with STOA_PUBLIC_PORT=443",
    CONTROL | EDGE | BIN,
)
PUBLIC_PORT = Setting(
    "STOA_PUBLIC_PORT",
    kinds.PORT,
    WorkedOut("STOA_HTTP_PORT", lambda environ: str(HTTP_PORT.of(environ))),
    "the port that people see, behind another proxy or a port forward",
    CONTROL | EDGE | BIN,
)
# --- This Stoa on its machine -----------------------------------------------------------------------
SCOPE = Setting(
    "STOA_SCOPE",
    kinds.NAME,
    "stoa",
    "keeps two Stoas on one machine apart: containers, cgroups and the firewall table have this name",
    BIN | CONTROL | ON_HOSTS,
    change=Change(WHILE_STOPPED, "its containers, cgroups and firewall table are called by it"),
)
PORT_BASE = Setting(
    "STOA_PORT_BASE",
    number(1024, 65500),
    "18800",
    "six loopback ports above it: +1 Redis, +2 web, +3 events, +4 hold service, +5 HAProxy's health and"
    " figures, +6 depot",
    BIN | CONTROL | ON_HOSTS | EDGE | REDIS,
    change=Change(WHILE_STOPPED, "its programs talk to each other at these ports"),
)
LOG_LEVEL = Setting(
    "STOA_LOG_LEVEL",
    one_of("DEBUG", "INFO", "WARNING", "ERROR"),
    "INFO",
    "the least that the control plane's programs log",
    CONTROL,
)
# --- Hosts on other machines ------------------------------------------------------------------------
POOL_ADDRESS = Setting(
    "STOA_POOL_ADDRESS",
    optional(kinds.REACHABLE),
    NOTHING,
    "the address of this machine that hosts on other machines reach; depot and Redis listen there too",
    BIN | CONTROL | ON_HOSTS | EDGE | REDIS,
)
POOL_NAMES = Setting(
    "STOA_POOL_NAMES",
    kinds.NAMES,
    NOTHING,
    "other addresses or names by which they reach it; the certificates are good for them",
    BIN | CONTROL,
)
