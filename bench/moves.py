"""What visitors notice while a host is emptied under them.

Claim: a host with 30 running shops that have data is emptied under steady load with no
request failed, no order lost, and nobody kept waiting for longer than 1.5 s.

    python -m bench.moves [--quick] [--json FILE]

Three hosts on this machine (bin/up --hosts 3), real agents, containers and edge. Visitors look at the
shops and buy from them all the while; afterwards every order that was confirmed is asked for again. Then,
under the same load, shops are moved as it is done without a hold, stop first (bench/inner/stop_first.py):
with the same parts in another order.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts import common
from bench.parts.common import REPO, percentile, said
from bench.parts.options import Parser
from bench.parts.stoa import Stoa, stoa
from bench.parts.visitors import Seen, Visitors, lost_orders

SOURCE = "host2"
TARGET_HELD_MS = 1500.0
LOOKS_PER_SECOND, ORDERS_PER_SECOND = 40.0, 3.0


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0 when every target is met, else 1."""
    options = _options(argv)
    shops, stopped = (10, 3) if options.quick else (30, 8)
    facts = common.machine()
    print("· bin/up --hosts 3", flush=True)
    with stoa(hosts=3) as mine:
        result = _measure(mine, shops, stopped)
    print(
        f"\n{facts.cores} cores, {facts.memory_mib} MiB, Linux {facts.kernel}, load {facts.load_before}"
    )
    _print(result)
    verdicts = _verdicts(result)
    print(
        "\n" + "\n".join(f"{'met ' if met else 'MISS'}  {text}" for text, met in verdicts.items())
    )
    common.write_json(options.json, {"machine": asdict(facts), **result, "targets": verdicts})
    return 0 if all(verdicts.values()) else 1


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(__doc__, quick="10 shops and 3 instead of 30 and 8")
    return parser.read(argv)


def _measure(mine: Stoa, shops: int, stopped: int) -> dict[str, Any]:
    slugs = [f"moves{number}" for number in range(shops)]
    with said(f"{shops} shops on {SOURCE}"):
        _sign_up(mine, slugs)
    with said(f"emptying {SOURCE} under load"):
        drained = _drained(mine, slugs)
    with said(f"{stopped} shops moved stop first under the same load"):
        first = _stopped_first(mine, slugs[:stopped])
    return {"shops": shops, "drain": drained, "stop_first": first}


def _sign_up(mine: Stoa, slugs: Sequence[str]) -> None:
    """All on one host, each with an order or so before anything is measured."""
    others = [
        host["name"]
        for host in mine.call("GET", "/api/v1/hosts")["results"]
        if host["name"] != SOURCE
    ]
    for name in others:
        mine.call("POST", f"/api/v1/hosts/{name}/cordon")
    for slug in slugs:
        wanted = {"slug": slug, "shop_name": slug, "email": "bench@example.org"}
        made = mine.call("POST", "/api/v1/tenants", wanted)
        mine.finished(made["operation"]["id"])
    for name in others:
        mine.call("POST", f"/api/v1/hosts/{name}/uncordon")


def _drained(mine: Stoa, slugs: Sequence[str]) -> dict[str, Any]:
    visitors = _visitors(mine, slugs).start()
    time.sleep(3.0)
    drain = mine.call("POST", f"/api/v1/hosts/{SOURCE}/drain")
    while drain["state"] == "running":
        time.sleep(0.5)
        drain = mine.call("GET", f"/api/v1/hosts/{SOURCE}/drain")
    time.sleep(2.0)
    seen = visitors.stop()
    return {
        "seconds": drain["seconds"],
        "moved": drain["moved"],
        "held_ms_at_most": drain["longest_held_ms"],
        **_told(mine, seen),
    }


def _stopped_first(mine: Stoa, slugs: Sequence[str]) -> dict[str, Any]:
    mine.call("POST", f"/api/v1/hosts/{SOURCE}/uncordon")
    visitors = _visitors(mine, slugs).start()
    time.sleep(2.0)
    begun = time.monotonic()
    for slug in slugs:
        argv = [str(REPO / "bin/stoa-env"), "python", "-m", "bench.inner.stop_first", slug, SOURCE]
        subprocess.run(argv, env=dict(mine.environment), check=True, stdin=subprocess.DEVNULL)
    seconds = time.monotonic() - begun
    time.sleep(1.0)
    return {"seconds": round(seconds, 1), "moved": len(slugs), **_told(mine, visitors.stop())}


def _visitors(mine: Stoa, slugs: Sequence[str]) -> Visitors:
    return Visitors(
        mine.http_port,
        slugs,
        looks_per_second=LOOKS_PER_SECOND,
        orders_per_second=ORDERS_PER_SECOND,
    )


def _told(mine: Stoa, seen: Seen) -> dict[str, Any]:
    times = [one.milliseconds for one in seen.requests]
    return {
        "requests": len(times),
        "failed": seen.failed,
        "p50_ms": round(percentile(times, 0.5), 1),
        "p99_ms": round(percentile(times, 0.99), 1),
        "longest_ms": round(max(times), 1),
        "orders": seen.order_count,
        "orders_lost": len(lost_orders(mine.http_port, seen.orders)),
    }


def _print(result: dict[str, Any]) -> None:
    names = [
        *("moved", "seconds", "requests", "failed", "p50_ms", "p99_ms", "longest_ms"),
        *("orders", "orders_lost"),
    ]
    rows = [
        [text, *(result[kind][name] for name in names)]
        for kind, text in (("drain", "Stoa, emptying a host"), ("stop_first", "stop first"))
    ]
    print(common.table(["", *(name.replace("_", " ") for name in names)], rows))


def _verdicts(result: dict[str, Any]) -> dict[str, bool]:
    drain = result["drain"]
    return {
        f"{drain['failed']} of {drain['requests']} requests failed, target none": not drain[
            "failed"
        ],
        f"{drain['orders_lost']} of {drain['orders']} orders lost, target none": not drain[
            "orders_lost"
        ],
        f"longest wait {drain['longest_ms']:.0f} ms, target at most {TARGET_HELD_MS:.0f}": drain[
            "longest_ms"
        ]
        <= TARGET_HELD_MS,
        f"{drain['moved']} of {result['shops']} shops moved": drain["moved"] == result["shops"],
        f"stop first fails {result['stop_first']['failed']} requests": result["stop_first"][
            "failed"
        ]
        > 0,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
