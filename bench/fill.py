"""Sign-ups through the API until the pool refuses: how many shops one machine takes, and what they take.

Claim: at least 2,000 shops of the smallest plan live on this machine, each answering 200, all
of it within 10 GB; the refusal comes at once and names the scarce resource.

    python -m bench.fill [--quick] [--json FILE]

A few shops come first and are measured, as the control plane measures whatever it does not know; then
sign-ups come eight at a time until one is refused. The store for shops' data is of 2.4 GB, so that the end
comes within minutes. Memory is the machine's, with and without Stoa and its shops, caches dropped.
"""

import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.parts import common
from bench.parts.common import said, status_of
from bench.parts.options import HOST, Parser
from bench.parts.stoa import Stoa, stoa

TARGET_SHOPS = 2000
TARGET_GB = 10.0
FIRST = 4
AT_ONCE = 8
STORE, QUICK_STORE = "2364M", "512M"
MEASURED_SECONDS = 120.0
SETTLED_SECONDS, QUICK_SECONDS = 60.0, 5.0
LIVE_SECONDS = 600.0
REFUSED_SECONDS = 2.0


@dataclass
class Filling:
    """What came of the sign-ups, counted by all threads."""

    taken: list[tuple[str, str]] = field(default_factory=list)
    refusal: str = ""
    refused_ms: float = 0.0
    others: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Result:
    """failed: operations that did not succeed, and shops without a page. booked: for each."""

    shops: int
    answering: int
    failed: tuple[str, ...]
    refusal: str
    refused_ms: float
    seconds: float
    memory_bytes: int
    settled: bool
    booked: dict[str, float]


def main(argv: Sequence[str]) -> int:
    """Fill, print, and return 0 when every target is met, else 1."""
    options = Parser(__doc__, quick="a store of 512 MiB, soon full", needs=HOST).read(argv)
    facts = common.machine()
    patience = QUICK_SECONDS if options.quick else SETTLED_SECONDS
    before = common.settled_memory(os.getpid(), seconds=patience)
    with stoa(store_bytes=QUICK_STORE if options.quick else STORE) as mine:
        found = _filled(mine, before, patience)
    verdicts = _verdicts(found, is_quick=options.quick)
    print(
        f"\n{facts.cores} cores, {facts.memory_mib} MiB, Linux {facts.kernel}, load {facts.load_before}"
    )
    rows = [
        ("shops live", f"{found.shops}"),
        ("answering 200", f"{found.answering}"),
        ("until the refusal", f"{found.seconds:.0f} s"),
        ("memory in all, Stoa included", f"{found.memory_bytes / 1e9:.2f} GB"),
        (
            "booked for each",
            "  ".join(f"{name} {amount:g}" for name, amount in found.booked.items()),
        ),
        ("refused after", f"{found.refused_ms:.0f} ms: {found.refusal}"),
    ]
    print(common.table(("", ""), rows))
    for failure in found.failed:
        print(f"  {failure}")
    print(
        "\n" + "\n".join(f"{'met ' if met else 'MISS'}  {text}" for text, met in verdicts.items())
    )
    common.write_json(
        options.json, {"machine": asdict(facts), "result": asdict(found), "targets": verdicts}
    )
    return 0 if all(verdicts.values()) else 1


def _filled(mine: Stoa, before: common.Level, patience: float) -> Result:
    with said(f"{FIRST} shops, until they are measured"):
        first = [_sign_up(mine, number)[1] for number in range(FIRST)]
        _await_measured(mine)
    filling = Filling(taken=[(f"fill{n}", operation) for n, operation in enumerate(first)])
    numbers = iter(range(FIRST, 1_000_000))
    began = time.monotonic()
    with said("sign-ups until one is refused"), ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(AT_ONCE):
            pool.submit(_fill, mine, numbers, filling)
    seconds = time.monotonic() - began
    with said(f"waiting until {len(filling.taken)} are live"):
        failed = [told for one in filling.taken if (told := _end(mine, *one))]
    with said("asking each for its page"), ThreadPoolExecutor(AT_ONCE) as pool:
        pages = list(pool.map(lambda one: _answers(mine, one[0]), filling.taken))
    after = common.settled_memory(mine.supervisor, seconds=patience)
    return Result(
        shops=len(filling.taken) - len(failed),
        answering=sum(pages),
        failed=tuple([*filling.others, *failed][:20]),
        refusal=filling.refusal,
        refused_ms=round(filling.refused_ms, 1),
        seconds=round(seconds, 1),
        memory_bytes=before.amount - after.amount,
        settled=before.settled and after.settled,
        booked=_booked(mine, len(filling.taken)),
    )


def _fill(mine: Stoa, numbers: Any, filling: Filling) -> None:
    while not filling.refusal and len(filling.others) < 20:
        with filling.lock:
            number = next(numbers)
        began = time.monotonic()
        status, told = _sign_up(mine, number)
        with filling.lock:
            if status == 202:
                filling.taken.append((f"fill{number}", told))
            elif status == 503 and '"no_room"' in told:
                filling.refusal = str(json.loads(told)["detail"])
                filling.refused_ms = (time.monotonic() - began) * 1000
            else:
                filling.others.append(f"fill{number}: {status} {told[:200]}")


def _sign_up(mine: Stoa, number: int) -> tuple[int, str]:
    """The status, and the operation's id, or what was said instead."""
    wanted = {"slug": f"fill{number}", "shop_name": "Bench", "email": f"f{number}@example.org"}
    connection = http.client.HTTPConnection("127.0.0.1", mine.http_port, timeout=60)
    headers = {
        "Host": "localhost",
        "Authorization": f"Bearer {mine.token}",
        "Content-Type": "application/json",
    }
    try:
        body = json.dumps(wanted | {"plan": "starter"})
        connection.request("POST", "/api/v1/tenants", body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()
    told = str(json.loads(text)["operation"]["id"]) if answer.status == 202 else text
    return answer.status, told


def _booked(mine: Stoa, shops: int) -> dict[str, float]:
    """What is booked for a shop on average, by resource."""
    (host,) = mine.call("GET", "/api/v1/hosts")["results"]
    return {
        name: round(host[name]["booked"] / max(1, shops), 2)
        for name in ("cpu_millis", "memory_bytes", "disk_bytes")
    }


def _await_measured(mine: Stoa) -> None:
    """Until what is booked for the first shops has changed from a guess to what they use."""
    deadline = time.monotonic() + MEASURED_SECONDS
    guessed = _booked(mine, FIRST)["disk_bytes"]
    while time.monotonic() < deadline:
        if 0 < _booked(mine, FIRST)["disk_bytes"] < guessed:
            return
        guessed = max(guessed, _booked(mine, FIRST)["disk_bytes"])
        time.sleep(1.0)
    raise SystemExit(f"the first shops were not measured within {MEASURED_SECONDS:g} s")


def _end(mine: Stoa, slug: str, operation: str) -> str:
    """ "" when the operation succeeded, else what became of it."""
    deadline = time.monotonic() + LIVE_SECONDS
    while True:
        found = mine.call("GET", f"/api/v1/operations/{operation}")
        if found["state"] == "succeeded":
            return ""
        if found["state"] in ("failed", "cancelled") or time.monotonic() > deadline:
            return f"{slug}: {found['state']} {found['error']}"
        time.sleep(0.2)


def _answers(mine: Stoa, slug: str) -> bool:
    return status_of(("127.0.0.1", mine.http_port), f"{slug}.localhost", "/", timeout=30) == 200


def _verdicts(found: Result, *, is_quick: bool) -> dict[str, bool]:
    least = 100 if is_quick else TARGET_SHOPS
    return {
        f"{found.shops} shops live, target at least {least}": found.shops >= least,
        f"{found.answering} of {found.shops} answer 200, {len(found.failed)} failed": (
            found.answering == found.shops and not found.failed
        ),
        f"{found.memory_bytes / 1e9:.2f} GB in all, target at most {TARGET_GB:g}": (
            found.memory_bytes / 1e9 <= TARGET_GB
        ),
        f"refused within {REFUSED_SECONDS:g} s, naming what is scarce": (
            found.refused_ms <= REFUSED_SECONDS * 1000
            and any(name in found.refusal for name in ("disk", "memory", "processor"))
        ),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
