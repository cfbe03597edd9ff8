"""Many sign-ups at once on one host: none fails, each is live in its turn, and how long the last one waits.

Claim: of 10, 20, 100 and 300 sign-ups at once none fails, and the last is live within twice
the time that the driver alone needs for as many starts; 10 and 20 at once are faster than Docker's.

    python -m bench.burst [--quick] [--json FILE]

The driver alone starts 200 shops, two at a time, with nothing around it, half of them before the rounds and
half after; its rate is what this machine can do. Every round posts its sign-ups through the API at one
moment, from as many threads, and asks each shop for its page through the edge until it answers. Shops stay
up from round to round. Docker (where it can be started) starts 10 and 20 of the same image at once; it only
starts containers, without limits.
"""

import http.client
import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts import common, peers
from bench.parts.common import percentile, said, status_of
from bench.parts.host import FENCE, host
from bench.parts.options import HOST, Parser
from bench.parts.stoa import Stoa, stoa
from runtime.units import GIB

ROUNDS = (10, 20, 100, 300)
QUICK_ROUNDS = (10, 20)
LIKE_DOCKER = (10, 20)
DOCKER = ("docker", "dockerd")
TARGET_TIMES_DRIVER = 2.0
STARTS_ALONE, QUICK_ALONE = 200, 40
ALONE_AT_ONCE = 2  # a start is all processor time, and this is what the machine has
# Only the first in line is asked: every question is work for the edge on the same two cores. So a shop that
# was up before the one ahead of it is told as late as that one; the last one is told when it is up.
EVERY_SECONDS = 0.05
FIRST = 8
STORE = "2G"
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Burst:
    """One round. out_of_turn: by how many places the one that jumped the line most was ahead of its turn."""

    shops: int
    live: int
    posts_ms: float
    first_ms: float
    half_ms: float
    last_ms: float
    out_of_turn: int
    failures: tuple[str, ...]


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return 0 when every target is met, else 1."""
    quick = "10 and 20 at once, 40 starts alone, without Docker"
    needed = () if "--quick" in argv else DOCKER
    options = Parser(__doc__, quick=quick, needs=HOST, peers=needed).read(argv)
    rounds, alone = (QUICK_ROUNDS, QUICK_ALONE) if options.quick else (ROUNDS, STARTS_ALONE)
    facts = common.machine()
    docker = {} if options.quick or options.only_stoa else _docker()
    # Half before and half after: the machine itself is faster in one minute than in another.
    seconds = _alone(alone // 2)
    found: list[Burst] = []
    with stoa(store_bytes=STORE) as mine:
        with said("a few first, one after another"):
            for number in range(FIRST):  # loads what is loaded once, in every process of the web
                mine.start(number, 0.005)
        begun = 0
        for count in rounds:
            with said(f"{count} sign-ups at once"):
                found.append(_burst(mine, begun, count))
            begun += count
    rate = alone / (seconds + _alone(alone // 2))
    verdicts = _verdicts(found, rate, docker)
    _show(found, rate, docker, facts)
    print(
        "\n" + "\n".join(f"{'met ' if met else 'MISS'}  {text}" for text, met in verdicts.items())
    )
    result = {
        "machine": asdict(facts),
        "driver_alone_per_second": round(rate, 2),
        "docker_ms": docker,
        "bursts": [asdict(one) for one in found],
        "targets": verdicts,
    }
    common.write_json(options.json, result)
    return 0 if all(verdicts.values()) else 1


def _docker() -> dict[int, float]:
    """Milliseconds until all of so many at once answer."""
    times: dict[int, float] = {}
    for count in LIKE_DOCKER:
        with said(f"docker: {count} at once"), peers.docker(peers.shop_image()) as peer:
            found = common.measure(peer.start, one_by_one=1, at_once=count)
            times[count] = found.all_at_once_ms
    return times


def _alone(count: int) -> float:
    """Seconds the driver alone takes for so many starts, each until its health path answers."""
    with host(store_bytes=GIB) as mine:
        mine.take(peers.shop_image(), "shop")

        def start(number: int) -> None:
            env = peers.shop_env(f"bench{number}", "http://bench.localhost")
            spec = mine.spec(number, env=tuple(env.items()), volume=f"bench{number}")
            mine.driver.ensure_running(spec, fence=FENCE)

        start(count)  # loads what is loaded once
        began = time.monotonic()
        with (
            said(f"the driver alone: {count} starts, {ALONE_AT_ONCE} at a time"),
            ThreadPoolExecutor(ALONE_AT_ONCE) as pool,
        ):
            list(pool.map(start, range(count)))
        return time.monotonic() - began


def _burst(mine: Stoa, first: int, count: int) -> Burst:
    numbers = range(first, first + count)
    began = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        posted = list(pool.map(lambda number: _post(mine, number), numbers))
        posts_ms = (time.monotonic() - began) * 1000
    failures = [told for operation, told in posted if not operation]
    slugs = {operation: f"burst{n}" for (operation, _), n in zip(posted, numbers, strict=True)}
    slugs.pop("", None)
    live_at = _await_pages(mine, [*slugs.values()], began)
    ends = [_end(mine, operation) for operation in slugs]
    failures += [f"{end['tenant']}: {end['told']}" for end in ends if end["state"] != "succeeded"]
    times = sorted(live_at.values()) or [0.0]
    return Burst(
        shops=count,
        live=len(live_at),
        posts_ms=round(posts_ms, 1),
        first_ms=round(times[0] * 1000, 1),
        half_ms=round(percentile(times, 0.5) * 1000, 1),
        last_ms=round(times[-1] * 1000, 1),
        out_of_turn=_out_of_turn(ends),
        failures=tuple(failures[:20]),
    )


def _post(mine: Stoa, number: int) -> tuple[str, str]:
    """The operation's id, or "" and why not."""
    wanted = {"slug": f"burst{number}", "shop_name": "Bench", "email": f"b{number}@example.org"}
    wanted["plan"] = "starter"
    # As many people as sign-ups: the edge bounds what one address may do at once.
    source = f"127.1.{number // 250}.{number % 250 + 1}"
    connection = http.client.HTTPConnection(
        "127.0.0.1", mine.http_port, timeout=60, source_address=(source, 0)
    )
    headers = {
        "Host": "localhost",
        "Authorization": f"Bearer {mine.token}",
        "Content-Type": "application/json",
    }
    try:
        connection.request("POST", "/api/v1/tenants", json.dumps(wanted), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return "", str(error)[:200]
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.ACCEPTED:
        return "", f"{answer.status} {text[:200]}"
    return str(json.loads(text)["operation"]["id"]), ""


def _await_pages(mine: Stoa, slugs: Sequence[str], began: float) -> dict[str, float]:
    """Seconds from began until each shop's page was there, asked for in their order."""
    waiting, live = deque(slugs), {}
    place = ("127.0.0.1", mine.http_port)
    while waiting and time.monotonic() - began < PATIENCE_SECONDS:
        if status_of(place, f"{waiting[0]}.localhost", "/healthz") == 200:
            live[waiting.popleft()] = time.monotonic() - began
        else:
            time.sleep(EVERY_SECONDS)
    return live


def _end(mine: Stoa, operation: str) -> dict[str, str]:
    """How an operation ended, read when all should have."""
    for _ in range(50):
        told = mine.call("GET", f"/api/v1/operations/{operation}")
        if told["state"] not in ("pending", "running"):
            break
        time.sleep(0.1)
    return {
        "tenant": str(told["tenant"]),
        "state": str(told["state"]),
        "told": str(told.get("error") or ""),
        "asked": str(told["created_at"]),
        "ended": str(told.get("finished_at") or ""),
    }


def _out_of_turn(ends: Sequence[dict[str, str]]) -> int:
    done = [end for end in ends if end["ended"]]
    turns = sorted(done, key=lambda end: datetime.fromisoformat(end["asked"]))
    order = sorted(done, key=lambda end: datetime.fromisoformat(end["ended"]))
    place = {end["tenant"]: at for at, end in enumerate(turns)}
    return max((place[end["tenant"]] - at for at, end in enumerate(order)), default=0)


def _show(
    found: Sequence[Burst], rate: float, docker: dict[int, float], facts: common.Machine
) -> None:
    rows = [
        (
            f"{one.shops} at once",
            f"{one.live}",
            f"{one.posts_ms:.0f}",
            f"{one.first_ms:.0f}",
            f"{one.half_ms:.0f}",
            f"{one.last_ms:.0f}",
            f"{one.shops / rate * 1000:.0f}",
            f"{docker[one.shops]:.0f}" if one.shops in docker else "–",
            f"{one.out_of_turn}",
        )
        for one in found
    ]
    head = ("ms", "live", "posted", "first", "half", "last", "driver alone", "Docker", "jumped")
    print(
        f"\n{facts.cores} cores, {facts.memory_mib} MiB, Linux {facts.kernel}, load {facts.load_before}"
    )
    print(common.table(head, rows))
    for one in found:
        for failure in one.failures:
            print(f"  {one.shops} at once: {failure}")


def _verdicts(found: Sequence[Burst], rate: float, docker: dict[int, float]) -> dict[str, bool]:
    verdicts: dict[str, bool] = {}
    for one in found:
        verdicts[f"{one.live} of {one.shops} at once are live, {len(one.failures)} failed"] = (
            one.live == one.shops and not one.failures
        )
        times = one.last_ms / 1000 / (one.shops / rate)
        verdicts[f"{one.shops} at once: the last after {times:.2f} times the driver's time"] = (
            times <= TARGET_TIMES_DRIVER
        )
        if one.shops in docker:
            theirs = docker[one.shops]
            verdicts[f"{one.shops} at once: {one.last_ms:.0f} ms, Docker {theirs:.0f} ms"] = (
                one.last_ms < theirs
            )
    return verdicts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
