"""Settings that bin/up does not keep: given each time, or worked out and handed to programs."""

from collections.abc import Mapping
from pathlib import Path

from settings import common, kinds
from settings.kinds import number, optional
from settings.setting import (
    BIN,
    CLI,
    CONTROL,
    EDGE,
    HOST,
    NOTHING,
    ON_HOSTS,
    REDIS,
    Setting,
    WorkedOut,
)

REPO = Path(__file__).resolve().parent.parent
_ENDPOINT = kinds.matching(r"[A-Za-z0-9.-]+:[0-9]{1,5}", "<address>:<port>")


def _above_base(offset: int) -> WorkedOut:
    return WorkedOut(
        f"STOA_PORT_BASE + {offset}", lambda environ: str(common.PORT_BASE.of(environ) + offset)
    )


def _at_base(offset: int) -> WorkedOut:
    return WorkedOut(
        f"127.0.0.1, at STOA_PORT_BASE + {offset}",
        lambda environ: f"127.0.0.1:{common.PORT_BASE.of(environ) + offset}",
    )


def _in_var(name: str) -> WorkedOut:
    return WorkedOut(f"`$STOA_VAR/{name}`", lambda environ: str(VAR.of(environ) / name))


def _depot_bind(environ: Mapping[str, str]) -> str:
    port, pool = DEPOT_PORT.text(environ), common.POOL_ADDRESS.text(environ)
    return f"127.0.0.1:{port}" + (f",{pool}:{port}" if pool else "")


# --- Given each time ---------------------------------------------------------------------------
VAR = Setting(
    "STOA_VAR",
    kinds.PATH,
    WorkedOut("`<checkout>/var`", lambda _: str(REPO / "var")),
    "where all data of this Stoa lie; programs in bin/ take a relative path too",
    BIN | CONTROL | CLI,
)
CACHE = Setting(
    "STOA_CACHE",
    kinds.PATH,
    WorkedOut("`<checkout>/var/cache`", lambda _: str(REPO / "var/cache")),
    "where built images are kept for the next build",
    BIN,
)
HOST_STATE = Setting(
    "STOA_HOST_STATE",
    kinds.PATH,
    "/var/lib/stoa/host",
    "where a host keeps images, volumes and bundles; `bin/up` takes `$STOA_VAR/host`",
    BIN | ON_HOSTS,
)
EDGE_STATE = Setting(
    "STOA_EDGE_STATE",
    kinds.EDGE_STATE,
    "/var/lib/stoa/edge",
    "where an edge keeps its configuration and its copy of the routes; `bin/up` takes `$STOA_VAR/edge`",
    BIN | EDGE,
)
EDGE_USER = Setting(
    "STOA_EDGE_USER",
    kinds.USER,
    "haproxy",
    "whom HAProxy's workers become; the empty text: they stay who started them",
    EDGE,
)
IMAGES = Setting(
    "STOA_IMAGES", kinds.PATH, _in_var("images"), "images that hosts fetch from here", CONTROL
)
DATABASE = Setting(
    "STOA_DATABASE_URL",
    kinds.TEXT,
    WorkedOut("a PostgreSQL of bin/up's own"),
    "the record, as postgres://user@host:port/name; a restore knows only bin/up's own",
    BIN | CONTROL,
)
BROKER_ADDRESS = Setting(
    "STOA_BROKER_ADDRESS",
    _ENDPOINT,
    _at_base(1),
    "where programs reach Redis",
    BIN,
)
CONTROL_URL = Setting(
    "STOA_CONTROL_URL",
    kinds.matching(r"(https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?)?", "https://<host>[:<port>]"),
    WorkedOut("nothing: the control plane is not asked; `bin/up` takes the depot on loopback"),
    "where agents reach the control plane's depot",
    BIN | CONTROL | HOST | EDGE,
)
CONTROL_CA = Setting(
    "STOA_CONTROL_CA",
    optional(kinds.PATH),
    WorkedOut("nothing; `bin/up` takes `$STOA_VAR/secrets/pool-ca.crt`"),
    "the certificate of the pool's CA, by which agents know depot and broker",
    BIN | CONTROL | HOST | EDGE,
)
DEPOT_BIND = Setting(
    "STOA_DEPOT_BIND",
    kinds.matching(r"[^,\s]+:[0-9]+(,[^,\s]+:[0-9]+)*", "<address>:<port> with commas between"),
    WorkedOut("loopback and STOA_POOL_ADDRESS, at STOA_DEPOT_PORT", _depot_bind),
    "where the depot listens",
    CONTROL,
)
WEB_ADDRESS = Setting(
    "STOA_WEB_ADDRESS", _ENDPOINT, _at_base(2), "where the edge reaches the web", EDGE
)
EVENTS_ADDRESS = Setting(
    "STOA_EVENTS_ADDRESS", _ENDPOINT, _at_base(3), "where the edge reaches live events", EDGE
)
URL = Setting(
    "STOA_URL",
    kinds.TEXT,
    NOTHING,
    "the control plane that `bin/stoa` speaks to, before what `stoa login` saved",
    CLI,
)
TOKEN = Setting("STOA_TOKEN", kinds.TEXT, NOTHING, "the API token `bin/stoa` proves itself by", CLI)
CA = Setting(
    "STOA_CA",
    optional(kinds.PATH),
    WorkedOut("the system's"),
    "a file of certificates that `bin/stoa` believes",
    CLI,
)
JOIN_TOKEN = Setting(
    "STOA_JOIN_TOKEN",
    kinds.TEXT,
    NOTHING,
    "the token of `bin/stoa host join`, out of the list of processes",
    CLI,
)
# --- Worked out --------------------------------------------------------------------------------
SECRETS_DIR = Setting(
    "STOA_SECRETS_DIR",
    kinds.PATH,
    _in_var("secrets"),
    "files with what programs prove themselves by",
    BIN | CONTROL,
)
STATIC_ROOT = Setting(
    "STOA_STATIC_ROOT", kinds.PATH, _in_var("static"), "collected static files", BIN | CONTROL
)
ID = Setting("STOA_ID", kinds.TEXT, NOTHING, "a short name made of STOA_VAR", BIN | REDIS)
SHORT = Setting(
    "STOA_SHORT",
    kinds.PATH,
    WorkedOut("STOA_VAR", VAR.text),
    "STOA_VAR, or a link to it where its path is too long for a unix socket",
    BIN,
)
PG_SOCKET = Setting(
    "STOA_PG_SOCKET",
    kinds.TEXT,
    NOTHING,
    "the directory of PostgreSQL's socket",
    BIN | CONTROL,
)
REDIS_PORT = Setting(
    "STOA_REDIS_PORT",
    kinds.PORT,
    _above_base(1),
    "Redis's port",
    BIN | CONTROL | ON_HOSTS | REDIS,
)
WEB_PORT = Setting("STOA_WEB_PORT", kinds.PORT, _above_base(2), "the web's port", BIN)
EVENTS_PORT = Setting("STOA_EVENTS_PORT", kinds.PORT, _above_base(3), "live events' port", BIN)
DEPOT_PORT = Setting(
    "STOA_DEPOT_PORT", kinds.PORT, _above_base(6), "the depot's port", BIN | CONTROL
)
CONSOLE_URL = Setting(
    "STOA_CONSOLE_URL", kinds.TEXT, NOTHING, "the platform's own pages, as browsers write them", BIN
)
PROGRAM = Setting("STOA_PROGRAM", kinds.TEXT, "manage", "which program this is", CONTROL)
SUPERVISED = Setting(
    "STOA_SUPERVISED", kinds.TEXT, NOTHING, "a mark by which `bin/down` finds its programs", BIN
)
RUN_AS = Setting(
    "STOA_RUN_AS",
    kinds.one_of("root", "stoa"),
    "root",
    "the system user of the control plane's programs; kept in `$STOA_VAR/settings`",
    BIN,
)
BROKER_URL = Setting(
    "STOA_BROKER_URL",
    kinds.matching(
        r"(redis|rediss|unix)://.*",
        "redis://<user>:<password>@<address>:<port>/0, with this program's own user",
        is_shown=False,
    ),
    NOTHING,
    "Redis, with a program's own user and password",
    CONTROL | HOST | EDGE,
)
AGENT_TOKEN_FILE = Setting(
    "STOA_AGENT_TOKEN_FILE",
    optional(kinds.PATH),
    NOTHING,
    "a file with an agent's token for the depot",
    HOST | EDGE,
)
DEPOT_CERT = Setting(
    "STOA_DEPOT_CERT", optional(kinds.PATH), NOTHING, "the depot's certificate", CONTROL
)
DEPOT_KEY = Setting("STOA_DEPOT_KEY", optional(kinds.PATH), NOTHING, "the depot's key", CONTROL)
OLD_WORKERS = Setting(
    "STOA_OLD_WORKERS",
    kinds.TEXT,
    NOTHING,
    "who served before a program executed itself anew",
    CONTROL,
)
HOST_ADDRESS = Setting(
    "STOA_HOST_ADDRESS",
    optional(kinds.ADDRESS),
    WorkedOut("the first address of STOA_SUBNET"),
    "the machine's own address, by which edges on other machines reach published ports",
    BIN | ON_HOSTS,
)
HOST_NETNS = Setting(
    "STOA_HOST_NETNS", optional(kinds.PATH), NOTHING, "the network of a further host", BIN
)
HOST_LINK = Setting(
    "STOA_HOST_LINK", kinds.TEXT, NOTHING, "the bridge's end of a further host's cable", BIN
)
HOST_GATEWAY = Setting(
    "STOA_HOST_GATEWAY",
    optional(kinds.ADDRESS),
    NOTHING,
    "a further host's address on the bridge",
    BIN,
)
SLICE_CPU_MILLIS = Setting(
    "STOA_SLICE_CPU_MILLIS",
    optional(number(1, 10**12)),
    WorkedOut("nothing: the host is the whole machine"),
    "processor time of a host that is a part of a machine; with STOA_SLICE_MEMORY_BYTES",
    HOST,
    unit="thousandths of a core",
)
SLICE_MEMORY_BYTES = Setting(
    "STOA_SLICE_MEMORY_BYTES",
    optional(number(1, 10**18)),
    WorkedOut("nothing: the host is the whole machine"),
    "memory of a host that is a part of a machine; with STOA_SLICE_CPU_MILLIS",
    HOST,
    unit="bytes",
)
DRIVER = Setting(
    "STOA_DRIVER",
    kinds.matching(r"([\w.]+:\w+)?", "module:class, or nothing"),
    WorkedOut("crun's"),
    "another driver of containers, as module:class; for tests",
    HOST,
)


def depot_here(environ: Mapping[str, str]) -> str:
    """Return the depot of a control plane on this machine, as agents reach it."""
    return f"https://127.0.0.1:{DEPOT_PORT.of(environ)}"
