"""Works out HAProxy's configuration file: a pure function of EdgeConfig.

Requests take one way through it: exactly one clean Host, then the platform's own pages by name, or
one look into one map whose value is kept in a variable and taken apart. A name that is not in the
map, or a value that does not lead to a host of ours, is answered here and never connected to:
`server shop 0.0.0.0:0` without an address would be HAProxy itself, and one such request fed on
itself until every connection was used.
"""

from pathlib import Path

from runtime.edge.config import EdgeConfig

HOLD_LUA = Path(__file__).with_name("hold.lua")
HARD_STOP_SECONDS = 30

# Per tenant; the byte counters are 64 bits wide, those of requests 32.
COUNTERS = "conn_cur,http_req_cnt,http_req_rate(10s),http_fail_cnt,bytes_in_cnt,bytes_out_cnt"

SERVING_TABLE = "serving"
_SERVING = f"""backend {SERVING_TABLE}
    stick-table type string len 72 size 256k expire 5m store conn_cur
"""

# Linear on purpose: no nested repetition that a long header could make expensive.
HOST_PATTERN = r"^[a-z0-9-]{1,63}([.][a-z0-9-]{1,63}){0,10}[.]?(:[0-9]{1,5})?$"


def render(config: EdgeConfig) -> str:
    """The whole text of haproxy.cfg. Page files are expected in state_dir/pages (see pages.py)."""
    return "\n".join(
        (
            "# Written by the edge agent's boot; changes here are lost at the next start.",
            _global(config),
            _defaults(config),
            _public(config),
            _platform(config),
            _shops(config),
            _SERVING,
            _health(config),
        )
    )


def _global(config: EdgeConfig) -> str:
    # The master stays root for reloads; the workers, which talk to strangers, do not.
    unprivileged = f"    user {config.user}\n" if config.user else ""
    return f"""global
{unprivileged}    log stdout format raw daemon notice
    maxconn {config.maxconn}
    hard-stop-after {HARD_STOP_SECONDS}s
    stats socket {config.socket_path} mode 600 level admin expose-fd listeners
    stats timeout 30s
    # The hold service is on loopback and speaks plain HTTP; without this a missing CA file is an alert.
    httpclient.ssl.verify none
    lua-load-per-thread {HOLD_LUA}
"""


def _defaults(config: EdgeConfig) -> str:
    return f"""defaults
    mode http
    log global
    option httplog
    option dontlognull
    option dontlog-normal
    option disable-h2-upgrade
    # A reload's old worker answers what a kept connection brings next, instead of cutting it.
    option idle-close-on-response
    maxconn {config.maxconn}
    retries 1
    timeout connect 3s
    timeout http-request 10s
    timeout http-keep-alive 15s
    timeout client 60s
    timeout client-fin 10s
    timeout server 60s
    timeout server-fin 10s
    timeout queue 5s
    timeout tunnel 1h
    errorfile 400 {_page(config, "400.http")}
    errorfile 408 {_page(config, "408.http")}
"""


def _public(config: EdgeConfig) -> str:
    return f"""frontend public
    bind *:{config.http_port}
    acl one_host req.fhdr_cnt(host) eq 1
    acl clean_host req.fhdr(host) -m reg -i '{HOST_PATTERN}'
    {_answer(config, 400, "bad-host")} unless one_host clean_host
    http-request set-var(txn.host) req.fhdr(host),lower,host_only,rtrim(.)
    # What a client says about itself in these names is not true; a program may read _ as -.
    http-request del-header '^(x[-_](forwarded|stoa|real)([-_].*)?|forwarded|proxy)$' -m reg
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto {config.public_scheme}
    http-request set-header X-Forwarded-Host %[req.fhdr(host)]
    acl console var(txn.host) -m str {config.console_host}
    use_backend platform_hidden if console {{ path,url_dec -m reg -i '^[/]+internal([/]|$)' }}
    use_backend platform_events if console {{ path_beg /events/ }}
    use_backend platform_api if console {{ path_beg /api/ }}
    use_backend platform_web if console
    default_backend shops
"""


def _platform(config: EdgeConfig) -> str:
    away = "\n".join(
        f"    errorfile {status} {_page(config, 'platform-away.http')}"
        for status in (502, 503, 504)
    )
    away_json = away.replace("platform-away", "platform-away-json")
    return f"""backend platform_web
    http-reuse never
{away}
    server web {config.web_address}

backend platform_api
    http-reuse never
{away_json}
    server web {config.web_address}

backend platform_events
    http-reuse never
    timeout server 1h
{away}
    server events {config.events_address}

backend platform_hidden
    {_answer(config, 404, "no-page")}
"""


def _shops(config: EdgeConfig) -> str:
    networks = " ".join(str(network) for network in config.networks)
    first, last = config.ports[0], config.ports[-1]
    return f"""backend shops
    http-reuse never
    errorfile 502 {_page(config, "shop-failed.http")}
    errorfile 503 {_page(config, "shop-starting.http")}
    errorfile 504 {_page(config, "shop-slow.http")}
    # Counted by tenant, after the look-up: by a raw Host anyone could push shops out.
    stick-table type string len 48 size 256k expire 30m store {COUNTERS}
    http-request set-var(txn.route) var(txn.host),map_str({config.map_path})
    {_answer(config, 404, "no-shop")} unless {{ var(txn.route) -m found }}
    http-request set-var(txn.tenant) var(txn.route),field(1,@)
    http-request track-sc0 var(txn.tenant)
    {_answer(config, 429, "shop-busy", retry_after=1)} if {{ sc0_conn_cur gt {config.tenant_connections} }}
    http-request set-var(txn.to) var(txn.route),field(2,@)
    http-request lua.hold {config.hold_port} {config.hold_seconds:g} if {{ var(txn.to) -m str hold }}
    http-request set-var(txn.to) var(txn.route),field(2,@)
    {_answer(config, 503, "shop-asleep", retry_after=5)} if {{ var(txn.to) -m str asleep }}
    {_answer(config, 503, "shop-starting", retry_after=5)} if {{ var(txn.to) -m str hold }}
    http-request set-var(txn.ip) var(txn.to),field(1,:)
    http-request set-var(txn.port) var(txn.to),field(2,:)
    acl to_a_host var(txn.ip) -m ip {networks}
    acl to_a_port var(txn.port) -m int {first}:{last}
    {_answer(config, 503, "shop-starting", retry_after=5)} unless to_a_host to_a_port
    # After the hold, by route value: what an address still has to answer, held requests not counted.
    http-request track-sc1 var(txn.route) table {SERVING_TABLE}
    http-request set-header X-Stoa-Tenant %[var(txn.tenant)]
    http-request set-dst var(txn.ip)
    http-request set-dst-port var(txn.port)
    server shop 0.0.0.0:0
"""


def _health(config: EdgeConfig) -> str:
    return f"""frontend health
    bind 127.0.0.1:{config.health_port}
    http-request return status 200 content-type text/plain string ok if {{ path /healthz }}
    http-request use-service prometheus-exporter if {{ path /metrics }}
    stats enable
    stats uri /stats
    stats refresh 5s
"""


def _answer(config: EdgeConfig, status: int, page: str, *, retry_after: int = 0) -> str:
    """One `http-request return` with a page of ours."""
    parts = [
        f"http-request return status {status}",
        'content-type "text/html; charset=utf-8"',
        f"file {_page(config, page + '.html')}",
        "hdr Cache-Control no-store",
    ]
    if retry_after:
        parts.append(f"hdr Retry-After {retry_after}")
    return " ".join(parts)


def _page(config: EdgeConfig, name: str) -> Path:
    return config.state_dir / "pages" / name
