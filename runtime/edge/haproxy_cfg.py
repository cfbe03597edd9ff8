"""Works out HAProxy's configuration file: a pure function of EdgeConfig.

Requests take one way through it: exactly one clean Host, then the platform's own pages by name, or
one look into one map whose value is kept in a variable and taken apart. A name that is not in the
map, or a value that does not lead to a host of ours, is answered here and never connected to:
`server shop 0.0.0.0:0` without an address would be HAProxy itself, and one such request fed on
itself until every connection was used.
"""

from collections.abc import Mapping
from pathlib import Path

from runtime.edge import door, limits, uploads
from runtime.edge.answers import (
    FOR_PROGRAMS_OF_SHOPS,
    page,
    refused,
    returned,
    returned_to_programs,
)
from runtime.edge.config import EdgeConfig
from runtime.edge.door import IN_STEP_VARIABLE

HOLD_LUA = Path(__file__).with_name("hold.lua")
HARD_STOP_SECONDS = 30
_INNER_CONNECTIONS = 100

# Per tenant; the byte counters are 64 bits wide, those of requests 32.
COUNTERS = "conn_cur,http_req_cnt,http_req_rate(10s),http_fail_cnt,bytes_in_cnt,bytes_out_cnt"

SERVING_TABLE = "serving"
_SERVING = f"""backend {SERVING_TABLE}
    stick-table type string len 72 size 256k expire 5m store conn_cur
"""


def render(config: EdgeConfig) -> str:
    """Return the whole text of haproxy.cfg. Page files are expected in state_dir/pages (see pages.py)."""
    return "\n".join(
        (
            "# Written by the edge agent's boot; changes here are lost at the next start.",
            _global(config),
            _defaults(config),
            door.frontend(config),
            _platform(config),
            _shops(config),
            _SERVING,
            door.sources_table(),
            _health(config),
        )
    )


def _global(config: EdgeConfig) -> str:
    # The master stays root for reloads; the workers, which talk to strangers, do not.
    unprivileged = f"    user {config.user}\n" if config.user else ""
    # Beyond what the public may take: health and figures answer while the public door is full.
    in_all = config.maxconn + _INNER_CONNECTIONS
    return f"""global
{unprivileged}    log stdout format raw daemon notice
    maxconn {in_all}
    hard-stop-after {HARD_STOP_SECONDS}s
    tune.bufsize {limits.BUFFER_BYTES}
    tune.maxrewrite {limits.REWRITE_BYTES}
    tune.http.maxhdr {limits.PARSED_LINES}
    stats socket {config.socket_path} mode 600 level admin expose-fd listeners
    stats timeout 30s
    # A worker that has just started begins with a fresh map; the agent says from then on.
    set-var {IN_STEP_VARIABLE} date
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
    # A visitor who has left is not waited for: a silent stream would be kept for an hour. (Said here,
    # as HAProxy wants it of the frontend, too, and refuses it there.)
    option abortonclose
    # A stream may be silent for long: the kernel finds connections whose peer is gone.
    option clitcpka
    clitcpka-idle 60s
    clitcpka-intvl 15s
    clitcpka-cnt 4
    option srvtcpka
    srvtcpka-idle 60s
    srvtcpka-intvl 15s
    srvtcpka-cnt 4
    # A reload's old worker answers what a kept connection brings next, instead of cutting it.
    option idle-close-on-response
    maxconn {config.maxconn}
    retries 1
    timeout connect 3s
    timeout http-request {limits.HEAD_SECONDS}s
    timeout http-keep-alive {limits.IDLE_SECONDS}s
    timeout client {limits.PAUSE_SECONDS}s
    timeout client-fin 10s
    timeout server 60s
    timeout server-fin 10s
    timeout queue 10s
    timeout tunnel {config.silent_seconds}s
{_own_pages(config, _GENERAL)}
"""


# What HAProxy itself may answer with, and the page for it.
_GENERAL = {
    400: "400",
    403: "403",
    408: "408",
    413: "body-too-large",
    429: "too-many",
    500: "500",
    502: "platform-away",
    503: "platform-away",
    504: "platform-away",
}


def _own_pages(config: EdgeConfig, pages: Mapping[int, str], suffix: str = "") -> str:
    return "\n".join(
        f"    errorfile {status} {page(config, f'{name}{suffix}.http')}"
        for status, name in pages.items()
    )


# Of many who sign up at once the last waits for the web; that is no reason to turn anybody away.
QUEUE_SECONDS = 30


def _platform(config: EdgeConfig) -> str:
    # The web has 16 threads. A body is here whole before one of them hears of it, and what may be
    # read slowly (static files, the largest answers there are) can take four of them at most.
    for_people = _whole_body(returned(config, 413, "body-too-large"))
    for_programs = _whole_body(returned_to_programs(config, 413, "body-too-large"))
    return f"""cache static
    total-max-size 16
    max-object-size 4000000
    max-age 3600
    process-vary on

backend platform_web
    http-reuse never
    timeout queue {QUEUE_SECONDS}s
{for_people}
    server web {config.web_address} maxconn 12

backend platform_api
    http-reuse never
    timeout queue {QUEUE_SECONDS}s
{for_programs}
{_own_pages(config, _GENERAL, "-json")}
    server web {config.web_address} maxconn 12

backend platform_probes
    http-reuse never
    http-request wait-for-body time 1s
    # Asks every part how it is, which costs: at most two threads, however often it is asked.
    use-server ready if {{ path /readyz }}
    server web {config.web_address} maxconn 4
    server ready {config.web_address} maxconn 2 weight 0

backend platform_static
    http-reuse never
{for_people}
    # One copy of each file, whatever is written behind a ?.
    http-request set-uri %[path]
    http-request cache-use static
    http-response cache-store static
    server web {config.web_address} maxconn 4

backend platform_events
    http-reuse never
    timeout server {config.silent_seconds}s
{for_people}
    server events {config.events_address}

backend platform_hidden
    {returned(config, 404, "no-page")}
"""


def _whole_body(refusal: str) -> str:
    most = limits.PLATFORM_BODY_BYTES
    return f"""    {refusal} if {{ req.hdr_val(content-length) gt {most} }}
    http-request wait-for-body time {limits.BODY_SECONDS}s
    {refusal} if {{ req.body_len gt {most} }}"""


_SHOP_PAGES = {400: "400", 502: "shop-failed", 503: "shop-starting", 504: "shop-slow"}


# A connection that fails is noticed at once, and the request goes the other way.
_WATCHED = "check inter 2s fall 1 rise 1 observe layer4 error-limit 1 on-error mark-down"


def _shops(config: EdgeConfig) -> str:
    networks = " ".join(str(network) for network in config.networks)
    first, last = config.ports[0], config.ports[-1]
    return f"""backend shops
    http-reuse never
    option redispatch 1
    timeout server {config.silent_seconds}s
{_own_pages(config, _SHOP_PAGES)}
    acl asks_for_json req.hdr(accept) -m sub -i json
    acl asks_for_page req.hdr(accept) -m sub -i text/html
    # Counted by tenant, after the look-up: by a raw Host anyone could push shops out.
    stick-table type string len 48 size 256k expire 30m store {COUNTERS}
    http-request set-var(txn.route) var(txn.host),map_str({config.map_path})
{_refusal(config, 404, "no-shop", "!{ var(txn.route) -m found }")}
    http-request set-var(txn.tenant) var(txn.route),field(1,@)
    http-request track-sc0 var(txn.tenant)
{_refusal(config, 429, "shop-busy", f"{{ sc0_conn_cur gt {config.tenant_connections} }}", again=1)}
    # A form is here whole before the shop hears of it: slowly sent ones take no place there.
    acl has_body req.hdr_val(content-length) gt 0
    acl fits_here req.hdr_val(content-length) le {limits.PLATFORM_BODY_BYTES}
    http-request wait-for-body time {limits.BODY_SECONDS}s if has_body fits_here
    # A page that does not come is an error after a minute; a stream or a long poll may be silent.
    http-request set-timeout server {config.page_seconds}s if {{ req.hdr(accept) -m sub text/html }}
    acl of_any_length req.hdr(transfer-encoding) -m found
    http-request set-var(txn.large) bool(true) if has_body !fits_here or of_any_length
    http-request set-src str(127.0.0.1) if {{ var(txn.large) -m bool }}
    http-request set-var(txn.to) var(txn.route),field(2,@)
    http-request lua.hold {config.hold_port} {config.hold_seconds:g} if {{ var(txn.to) -m str hold }}
    http-request set-var(txn.to) var(txn.route),field(2,@)
{_refusal(config, 503, "shop-asleep", "{ var(txn.to) -m str asleep }", again=5)}
{_refusal(config, 503, "shop-starting", "{ var(txn.to) -m str hold }", again=5)}
    http-request set-var(txn.ip) var(txn.to),field(1,:)
    http-request set-var(txn.port) var(txn.to),field(2,:)
    acl to_a_host var(txn.ip) -m ip {networks}
    acl to_a_port var(txn.port) -m int {first}:{last}
{_refusal(config, 503, "shop-starting", "!to_a_host", again=5)}
{_refusal(config, 503, "shop-starting", "!to_a_port", again=5)}
    # After the hold, by route value: what an address still has to answer, held requests not counted.
    http-request track-sc1 var(txn.route) table {SERVING_TABLE}
    http-request set-header X-Stoa-Tenant %[var(txn.tenant)]
    http-request set-dst var(txn.ip)
    http-request set-dst-port var(txn.port)
{_answers(config)}
    use-server uploads if {{ var(txn.large) -m bool }}
    server shop 0.0.0.0:0
    # Not for balancing: it is taken by the rule above alone, and passed over while the agent is away.
    server uploads abns@{uploads.address(config.state_dir)} send-proxy weight 0 {_WATCHED}
"""


def _refusal(config: EdgeConfig, status: int, name: str, condition: str, *, again: int = 0) -> str:
    """Return the rules for what the edge answers in a shop's place, to programs and to people. again:
    seconds to Retry-After.
    """
    return refused(
        config, status, name, condition, retry_after=again, programs=FOR_PROGRAMS_OF_SHOPS
    )


def _answers(config: EdgeConfig) -> str:
    """Return the rules that limit a shop's answers."""
    too_large = returned(config, 502, "answer-too-large").replace("http-request", "http-response")
    failed = returned(config, 502, "shop-failed").replace("http-request", "http-response")
    # A cookie is for the shop's own name: for the domain above it all other shops would get it.
    # Once per attribute that could be there again; a cookie that has still more is made harmless.
    name = r"(?i)^([^;]*(?:;.*)?);[\t ]*domain[\t ]*=[^;]*(.*)$"
    cookies = "\n".join([f"    http-response replace-header Set-Cookie '{name}' '\\1\\2'"] * 3)
    return f"""    {too_large} if {{ res.hdrs,length gt {limits.HEAD_BYTES} }}
    {too_large} if {{ res.fhdr_cnt gt {limits.HEAD_LINES} }}
    # Nobody has asked for another protocol, or for one that is not let through.
    {failed} if {{ status 101 }} !{{ var(txn.upgrade) -m bool }}
{cookies}
    http-response replace-header Set-Cookie '(?i)^.*;[\t ]*domain[\t ]*=.*$' 'refused=; Max-Age=0'"""


def _health(config: EdgeConfig) -> str:
    return f"""frontend health
    bind 127.0.0.1:{config.health_port}
    http-request return status 200 content-type text/plain string ok if {{ path /healthz }}
    http-request use-service prometheus-exporter if {{ path /metrics }}
    stats enable
    stats uri /stats
    stats refresh 5s
"""
