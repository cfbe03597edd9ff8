"""What must be true once bench/chaos.py has stopped breaking things: nothing lost, doubled or left.

Each finding is a sentence; no findings is what is wanted. The record is compared with what really runs,
found in cgroups and directories, not by asking the platform.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import httpx

from bench.parts.chaos_work import Work
from bench.parts.visitors import Seen, lost_orders
from tests.lab.machines import HOSTS, Lab

SETTLE_SECONDS = 180.0


def settle(lab: Lab, *, seconds: float = SETTLE_SECONDS) -> list[str]:
    """Wait until nothing is open and nothing alarms; what was still so at the end of the wait."""
    waits: dict[str, Callable[[], list[str]]] = {
        "not well": lambda: _unwell(lab),
        "an operation is still open": lambda: _open_operations(lab),
        "an alarm is still open": lambda: _alarms(lab),
    }
    deadline = time.monotonic() + seconds
    left: list[str] = []
    while time.monotonic() < deadline:
        left = [f"{what}: {one}" for what, look in waits.items() for one in _tried(look)]
        if not left:
            return []
        time.sleep(1.0)
    return left


def findings(lab: Lab, work: Work, seen: Seen) -> list[str]:
    """What is not as it must be, one sentence each."""
    return [
        *_operations(lab, work),
        *_shops(lab, work),
        *_copies(lab),
        *_gone(lab, work),
        *(f"an order is lost: {place}" for place in lost_orders(lab.stack.port, seen.orders)),
        *(fault for one in work.restored for fault in one.faults),
    ]


def _tried(look: Callable[[], list[str]]) -> list[str]:
    with suppress(AssertionError):
        return look()
    return ["the record cannot be asked"]


def _unwell(lab: Lab) -> list[str]:
    with suppress(httpx.HTTPError):
        answer = lab.stack.api.get("/readyz")
        if answer.is_success:
            return [] if lab.all_alive() else ["a host is not heard"]
        return [f"/readyz {answer.status_code} {answer.text[:200]}"]
    return ["/readyz gives no answer"]


def _open_operations(lab: Lab) -> list[str]:
    rows = lab.sql(
        "SELECT one.verb, tenant.slug, one.state, one.attempts, one.error_message"
        " FROM tenants_operation AS one JOIN tenants_tenant AS tenant ON tenant.id = one.tenant_id"
        " WHERE one.state IN ('pending', 'running')"
    )
    return [" ".join(row) for row in rows]


def _alarms(lab: Lab) -> list[str]:
    rows = lab.sql("SELECT key, message FROM tenants_alarm WHERE cleared_at IS NULL")
    return [": ".join(row) for row in rows]


def _operations(lab: Lab, work: Work) -> list[str]:
    """What was taken must have come true; a move or a restore may end by leaving all as it was."""
    ended = {
        row[0]: row
        for row in lab.sql(
            "SELECT public_id, state, error_code, error_message FROM tenants_operation"
        )
    }
    wrong = []
    for operation, what in work.operations.items():
        verb, _, slug = what.partition(" ")
        if operation not in ended:
            wrong.append(f"{what} was taken as {operation}, and the record does not know it")
            continue
        _, state, code, message = ended[operation]
        if verb == "provision" and slug in work.removed and code == "superseded":
            continue
        if verb in {"provision", "remove"} and state != "succeeded":
            wrong.append(f"{what} was taken and is {state}: {code} {message}")
    broken = lab.sql(
        "SELECT tenant.slug, one.verb, one.error_code, one.error_message"
        " FROM tenants_operation AS one JOIN tenants_tenant AS tenant ON tenant.id = one.tenant_id"
        " WHERE one.verb IN ('repair', 'recover') AND one.state = 'failed'"
    )
    # One that was tried again with success is no loss; where it was not, the shop is away: see _shops.
    return wrong + [f"a failure of ours: {' '.join(row)}" for row in broken if row[2] == "internal"]


def _shops(lab: Lab, work: Work) -> list[str]:
    slugs = {*work.sellers, *(one.slug for one in work.restored), *work.living}
    rows = lab.sql("SELECT slug, state, count(*) OVER (PARTITION BY slug) FROM tenants_tenant")
    known = {row[0]: row[1:] for row in rows}
    wrong = [f"{slug} is not in the record" for slug in slugs - known.keys()]
    for slug in sorted(slugs & known.keys()):
        state, times = known[slug]
        if (state, times) != ("live", "1"):
            wrong.append(f"{slug} is {state}, {times} times in the record")
    answers = lab.answers(sorted(slugs & known.keys()))
    silent = [slug for slug, status in answers.items() if status != httpx.codes.OK]
    answers = _again(lab, silent)
    return wrong + [f"{slug} answers {status}" for slug, status in answers.items() if status != 200]


def _again(lab: Lab, slugs: Iterable[str], *, seconds: float = 20.0) -> dict[str, int]:
    """A busy machine misses an answer: what was silent once is asked for a while."""
    deadline = time.monotonic() + seconds
    answers = lab.answers(slugs)
    while any(status != 200 for status in answers.values()) and time.monotonic() < deadline:
        time.sleep(0.5)
        answers = lab.answers(slugs)
    return answers


def _copies(lab: Lab) -> list[str]:
    """Exactly one container of each that is in the record, where the record has it, and none beside."""
    placed = {
        row[0]: row[1]
        for row in lab.sql(
            "SELECT instance.public_id, host.name FROM tenants_placement AS place"
            " JOIN tenants_instance AS instance ON instance.id = place.instance_id"
            " JOIN tenants_host AS host ON host.id = place.host_id WHERE place.until IS NULL"
        )
    }
    run: dict[str, list[str]] = {}
    for host in HOSTS:
        for instance in _running_on(lab, host):
            run.setdefault(instance, []).append(host)
    wrong = [
        f"{instance} runs on {', '.join(hosts)}; the record has it on {placed.get(instance, 'no host')}"
        for instance, hosts in run.items()
        if hosts != [placed.get(instance)]
    ]
    return wrong + [
        f"{instance} does not run; the record has it on {host}"
        for instance, host in placed.items()
        if instance not in run
    ]


def _gone(lab: Lab, work: Work) -> list[str]:
    """Nothing of removed shops: no answer, no directory, no volume."""
    wrong = [
        f"{slug} was removed and answers {status}"
        for slug, status in lab.answers(sorted(work.removed)).items()
        if status not in {404, 0}
    ]
    live = {
        row[0] for row in lab.sql("SELECT public_id FROM tenants_instance WHERE state <> 'retired'")
    }
    for host in HOSTS:
        wrong += [
            f"{host} still has {place}"
            for place in _remains(lab, host)
            if not any(instance in place for instance in live)
        ]
    return wrong


def _state_of(lab: Lab, host: str) -> Path:
    return lab.stack.var / "host" if host == "local" else lab.stack.var / "hosts" / host / "state"


def _remains(lab: Lab, host: str) -> list[str]:
    """Directories of instances and volumes on a host."""
    state = _state_of(lab, host)
    places = [
        *state.glob("instances/ins_*"),
        *state.glob("volumes/*"),
        *state.glob("store/volumes/*"),
    ]
    return [str(place.relative_to(state)) for place in places]


def _running_on(lab: Lab, host: str) -> set[str]:
    root, parent = Path("/sys/fs/cgroup"), f"{lab.stack.scope}_{host}"
    found = set()
    for folder in {*root.glob(f"{parent}/ins_*"), *root.glob(f"pids/{parent}/ins_*")}:
        with suppress(OSError):
            if any(file.read_text().split() for file in folder.rglob("cgroup.procs")):
                found.add(folder.name)
    return found
