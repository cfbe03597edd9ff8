"""What connecting one more tenant costs a host that has many: interfaces, routes, limits, ports.

Claim in docs/runtime.md: the price does not grow with the number of tenants, and there may be more of
them than a bridge has ports (1,023).

    python -m bench.network [--quick] [--tenants N] [--json FILE]

No container runs: each tenant is a network namespace, all else is as in a start.
"""

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts import common
from bench.parts.crowd import namespaces
from bench.parts.options import Parser
from runtime import network
from runtime.config import HostConfig
from runtime.network import Endpoint, table
from runtime.units import MIB, Limits

TARGET_CONNECT_MS = 3.0
TARGET_GROWTH = 3.0
TARGET_COUNTERS_MS = 20.0
_FIRST_PORT = 10000
_HEAD = ("milliseconds", "first tenth p50", "last tenth p50", "p99")


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0 when every target is met, else 1."""
    options = _options(argv)
    facts = common.machine()
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as place:
        ports = range(_FIRST_PORT, _FIRST_PORT + max(options.tenants, 2000))
        subnet = IPv4Network(f"100.{64 + secrets.randbelow(30)}.0.0/16")
        config = HostConfig("bench", f"n{os.getpid()}", Path(place), subnet, ports)
        try:
            each, whole = _measured(config, options.tenants)
        finally:
            network.remove_host(config)
    print(
        f"\n{options.tenants} tenants, {facts.cores} cores, Linux {facts.kernel},"
        f" load {facts.load_before}"
    )
    print(common.table(_HEAD, [_row(name, times) for name, times in each.items()]))
    print("\n" + common.table(("with all of them", "ms"), list(whole.items())))
    first, last = _tenths(each["connect"])
    verdicts = {
        f"connecting takes at most {TARGET_CONNECT_MS} ms (p50)": last <= TARGET_CONNECT_MS,
        f"the last tenth at most {TARGET_GROWTH} times the first": last <= first * TARGET_GROWTH,
        f"counters of all in at most {TARGET_COUNTERS_MS} ms": whole["bytes of all, one read"]
        <= TARGET_COUNTERS_MS,
    }
    print(
        "\n" + "\n".join(f"{'met ' if met else 'MISS'}  {text}" for text, met in verdicts.items())
    )
    result = {"machine": asdict(facts), "tenants": options.tenants, "ms": {**whole}}
    common.write_json(options.json, {**result, "connect_ms": each["connect"], "targets": verdicts})
    return 0 if all(verdicts.values()) else 1


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(__doc__, quick="110 tenants instead of 1,100", needs=("ip", "nft"))
    parser.add_argument("--tenants", type=int, default=0, metavar="N", help="instead of 1,100")
    options = parser.read(argv)
    options.tenants = options.tenants or (110 if options.quick else 1100)
    return options


def _measured(config: HostConfig, tenants: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Times of each tenant by what was done, and times of what is done once for all."""
    plan = Limits(1000, 64 * MIB, 64, MIB, egress_bytes_per_second=10 * MIB)
    endpoints = [Endpoint(_FIRST_PORT + number, 8000, plan) for number in range(tenants)]
    network.ensure_host(config)
    each: dict[str, list[float]] = {"look after the host": [], "connect": []}
    with common.said(f"{tenants} namespaces"), namespaces(tenants) as made:
        for endpoint, netns_fd in zip(endpoints, made, strict=True):
            each["look after the host"].append(_took(lambda: network.ensure_host(config)))
            connect = partial(network.connect, config, endpoint, netns_fd=netns_fd)
            each["connect"].append(_took(connect))
        whole = {
            "bytes of all, one read": min(
                _took(lambda: network.counters(config)) for _ in range(5)
            ),
            "compare all with the disk": _took(lambda: network.repair(config, endpoints)),
        }
        table.delete(config)
        whole["bring all back after a flush"] = _took(lambda: network.repair(config, endpoints))
        # What a container's end costs the keeper, and what its removal costs the agent.
        each["withdraw"] = [
            _took(partial(network.withdraw, config, one.published_port))
            for one in endpoints[50:100]
        ]
        each["disconnect"] = [
            _took(partial(network.disconnect, config, one.published_port)) for one in endpoints[:50]
        ]
    return each, {name: round(ms, 1) for name, ms in whole.items()}


def _took(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def _tenths(times: Sequence[float]) -> tuple[float, float]:
    tenth = max(1, len(times) // 10)
    return common.percentile(times[:tenth], 0.5), common.percentile(times[-tenth:], 0.5)


def _row(name: str, times: Sequence[float]) -> tuple[str, ...]:
    amounts = (*_tenths(times), common.percentile(times, 0.99))
    return (name, *(f"{amount:.2f}" for amount in amounts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
