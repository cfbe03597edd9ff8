"""Configures the public frontend: which connections and requests are let in, and how many.

Connections are counted by source before anything is read from them, so that half-sent heads and idle
connections count too. The fuller the edge, the less one source may hold. New visitors find room, and
present ones keep what they have.
"""

from runtime.edge import limits
from runtime.edge.answers import refused, returned
from runtime.edge.config import EdgeConfig

SOURCES_TABLE = "sources"
HEALTH_PATH = "/.well-known/stoa/edge"
IN_STEP_SECONDS = 15  # how long the agent's word that HAProxy's map is the table holds
IN_STEP_VARIABLE = "proc.in_step_at"

# Linear on purpose: no nested repetition that a long header could make expensive.
HOST_PATTERN = r"^[a-z0-9-]{1,63}([.][a-z0-9-]{1,63}){0,10}[.]?(:[0-9]{1,5})?$"

# Headers that tell programs who asks and how. A program may read any sign as it reads -.
_CLAIMED = (
    "^(x-(forwarded|stoa|real|cluster|scheme|url-scheme|client-ip)(-.*)?|forwarded(-.*)?|proxy"
    "|client-ip|true-client-ip|cf-connecting-ip|fastly-client-ip|front-end-https)$"
).replace("-", "[^a-z0-9]")

# From how full the edge is (hundredths of maxconn) how many connections a source may hold (maxconn
# divided by). At the first step forty sources together leave half of the edge free.
_PRESSURE = ((50, 80), (75, 400), (90, 1000))
_BUSY = "busy"
_PROXIES_IN_A_ROW = 4
_SOURCE = "ipmask(32,64)"


def sources_table() -> str:
    """Return the counters by source; an entry in use is never pushed out."""
    return f"""backend {SOURCES_TABLE}
    stick-table type ipv6 size 200k expire 2m store conn_cur,conn_rate(10s),http_req_rate(10s)
"""


def frontend(config: EdgeConfig) -> str:
    """Return the whole frontend."""
    return "\n".join(
        [
            "frontend public",
            *_binds(config),
            f"    maxconn {config.maxconn}",
            *_admission(config),
            *_health(config),
            *_clean_host(config),
            *_visitor(config),
            *_sizes(config),
            *_headers(config),
            *_ways(config),
            "",
        ]
    )


def _binds(config: EdgeConfig) -> list[str]:
    ports = [(config.http_port, "")]
    if config.proxy_port:
        ports.append((config.proxy_port, " accept-proxy"))
    lines = []
    for port, option in ports:
        lines.append(f"    bind *:{port}{option}")
        if config.has_ipv6:
            lines.append(f"    bind :::{port} v6only{option}")
    return lines


def _admission(config: EdgeConfig) -> list[str]:
    """Decided before a byte is read. A proxy in front is let in: those it speaks for are counted."""
    lines = [f"    acl from_proxy src {_networks(config)}"] if config.proxies else []
    if config.proxy_port:
        # Here src is still who is connected; once the PROXY header is read it is the visitor.
        lines.append(
            f"    tcp-request connection reject if {{ dst_port {config.proxy_port} }} !from_proxy"
        )
    lines.append(
        f"    tcp-request session track-sc2 src,{_SOURCE} table {SOURCES_TABLE}"
        + (" unless from_proxy" if config.proxies else "")
    )
    lines.append(
        f"    tcp-request session reject if {{ sc2_conn_rate gt {config.source_requests} }}"
    )
    # A little beyond the share a page says so; further on nobody is waited for.
    beyond = config.source_connections + config.source_connections // 4
    lines.append(f"    tcp-request session reject if {{ sc2_conn_cur gt {beyond} }}")
    for hundredths, part in _PRESSURE:
        full = config.maxconn * hundredths // 100
        share = max(2, config.maxconn // part)
        lines.append(
            f"    tcp-request session reject if {{ fe_conn gt {full} }} {{ sc2_conn_cur gt {share} }}"
        )
    lines.append(f"    acl {_BUSY} fe_conn gt {config.maxconn * _PRESSURE[0][0] // 100}")
    # Nobody keeps a place he does not use while others look for one.
    lines.append(
        f"    http-after-response set-header Connection close if {_BUSY} !{{ status 101 }}"
    )
    return lines


def _health(config: EdgeConfig) -> list[str]:
    """Return the rules of the address for load balancers: by IP, without Host, by HTTP/1.0 too."""
    answer = 'content-type "text/plain" hdr Cache-Control no-store'
    away = f'{answer} hdr Retry-After 5 string "this edge does not know its routes for certain\\n"'
    return [
        f"    acl edge_health path {HEALTH_PATH}",
        f"    acl in_step date,sub({IN_STEP_VARIABLE}) lt {IN_STEP_SECONDS}",
        f'    http-request return status 200 {answer} string "ok\\n" if edge_health in_step',
        f"    http-request return status 503 {away} if edge_health",
    ]


def _clean_host(config: EdgeConfig) -> list[str]:
    return [
        "    acl one_host req.fhdr_cnt(host) eq 1",
        f"    acl clean_host req.fhdr(host) -m reg -i '{HOST_PATTERN}'",
        f"    {returned(config, 400, 'bad-host')} unless one_host clean_host",
        "    http-request set-var(txn.host) req.fhdr(host),lower,host_only,rtrim(.)",
        f"    acl console var(txn.host) -m str {config.console_host}",
        "    acl to_api path_beg /api/",
    ]


def _visitor(config: EdgeConfig) -> list[str]:
    """Return the rules that name the visitor (the connected address, or the one a known proxy names) and
    count his use.
    """
    lines = ["    http-request set-var(txn.visitor) src"]
    if config.proxies:
        named = [f"req.hdr_ip(x-forwarded-for,-{n + 1})" for n in range(_PROXIES_IN_A_ROW)]
        # The last address that is not a proxy's own; what stands before it is the visitor's word.
        for number, address in enumerate(named):
            present = " ".join(f"{{ {known} -m found }}" for known in named[: number + 1])
            lines.append(
                f"    http-request set-var(txn.visitor) {address} "
                f"if {{ var(txn.visitor) -m ip {_networks(config)} }} {present}"
            )
        lines.append(
            f"    http-request track-sc2 var(txn.visitor),{_SOURCE} table {SOURCES_TABLE} if from_proxy"
        )
    greedy = f"{{ sc2_http_req_rate gt {config.source_requests} }}"
    crowded = f"{{ sc2_conn_cur gt {config.source_connections} }}"
    lines.append(refused(config, 429, "too-many", greedy, retry_after=10))
    lines.append(refused(config, 429, "too-many", crowded, retry_after=10))
    return lines


def _sizes(config: EdgeConfig) -> list[str]:
    return [
        # A tunnel would carry what nobody has looked through.
        refused(config, 405, "no-tunnel", "METH_CONNECT"),
        refused(config, 414, "url-too-long", f"{{ url,length gt {limits.URL_BYTES} }}"),
        refused(config, 431, "head-too-large", f"{{ req.hdrs,length gt {limits.HEAD_BYTES} }}"),
        refused(config, 431, "head-too-large", f"{{ req.fhdr_cnt gt {limits.HEAD_LINES} }}"),
    ]


def _headers(config: EdgeConfig) -> list[str]:
    lines = [f"    http-request set-var(txn.scheme) str({config.public_scheme})"]
    if config.proxies:
        lines.append(
            "    http-request set-var(txn.scheme) req.fhdr(x-forwarded-proto),lower if from_proxy "
            "{ req.fhdr_cnt(x-forwarded-proto) eq 1 } "
            "{ req.fhdr(x-forwarded-proto) -m str -i http https }"
        )
    lines += [
        # What a client says about itself in these names is not true.
        f"    http-request del-header '{_CLAIMED}' -m reg",
        "    http-request set-header X-Forwarded-For %[var(txn.visitor)]",
        "    http-request set-header X-Forwarded-Proto %[var(txn.scheme)]",
        "    http-request set-header X-Forwarded-Host %[req.fhdr(host)]",
        # Only what is looked through stays: a tunnel of HTTP/2 would carry headers nobody has cleaned.
        "    acl to_websocket req.fhdr(upgrade) -m str -i websocket",
        "    acl one_upgrade req.fhdr_cnt(upgrade) eq 1",
        "    http-request set-var(txn.upgrade) bool(true) if to_websocket one_upgrade",
        "    http-request del-header Upgrade unless to_websocket one_upgrade",
        "    http-request del-header HTTP2-Settings",
        # A program that heeds Connection drops what it names: our own headers, if a client names them.
        "    http-request del-header Connection unless to_websocket one_upgrade",
        "    http-request set-header Connection Upgrade if to_websocket one_upgrade",
    ]
    return lines


def _ways(config: EdgeConfig) -> list[str]:
    share = config.maxconn // 8
    shops = config.maxconn - 3 * share
    full = returned(config, 503, "edge-busy", retry_after=5)
    return [
        # Neither can take the other's share.
        "    http-request set-var(txn.static) be_conn(platform_static) if console",
        *(
            refused(
                config,
                503,
                "platform-busy",
                f"console {{ {asked} gt {share} }}",
                retry_after=5,
            )
            for asked in (
                "be_conn(platform_web),add(txn.static)",
                "be_conn(platform_api)",
                "be_conn(platform_events)",
            )
        ),
        f"    {full} if !console {{ be_conn(shops) gt {shops} }}",
        "    use_backend platform_hidden if console { path,url_dec -m reg -i '^[/]+internal([/]|$)' }",
        "    use_backend platform_events if console { path_beg /events/ }",
        "    use_backend platform_api if console { path_beg /api/ }",
        "    use_backend platform_probes if console { path /livez /readyz }",
        "    use_backend platform_static if console { path_beg /static/ }",
        "    use_backend platform_web if console",
        "    default_backend shops",
    ]


def _networks(config: EdgeConfig) -> str:
    return " ".join(str(network) for network in config.proxies)
