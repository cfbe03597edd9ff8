"""Several hosts on one machine, and what befalls machines: they die, and lines between them break.

lab.sign_up("acme", on="host2")     a shop on that host
lab.snapshot("acme", …)             a copy of its data is kept, newer than now
lab.place("acme")                   the host the record has it on
lab.copies("acme")                  the hosts on which its container runs, found by looking
lab.kill("host2")                   SIGKILL for every process of the host, its supervisor too
lab.boot()                          hosts that do not run are started, as machines boot
lab.cut("host2", Line.CONTROL)      the host no longer reaches Redis and the depot; its visitors do
lab.cut("host2", Line.ALL)          its cable is out
lab.heal("host2")                   the line is good again
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

import httpx

from tests.stoa import REPO, Stack

HOSTS = ("local", "host2", "host3")


class Line(StrEnum):
    """What a host is cut off from."""

    CONTROL = "control"
    ALL = "all"


class Lab:
    """A Stoa with further hosts. Each is a network namespace that bin/up has made."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    # Shops -----------------------------------------------------------------------------------

    def sign_up(self, *slugs: str, on: str) -> None:
        """Shops on that host; fails the test when one does not come up there."""
        self.sql(
            f"UPDATE tenants_host SET state = 'cordoned' WHERE state = 'open' AND name <> '{on}'"
        )
        try:
            begun = [self.stack.sign_up(slug)["operation"]["id"] for slug in slugs]
            for operation in begun:
                ended = self.stack.wait(operation)
                assert ended["state"] == "succeeded", ended
        finally:
            self.sql("UPDATE tenants_host SET state = 'open' WHERE state = 'cordoned'")
        for slug in slugs:
            assert self.place(slug) == on

    def snapshot(self, *slugs: str) -> None:
        """A copy of each shop's data, as it is now, is kept off its host."""
        names = ", ".join(f"'{slug}'" for slug in slugs)
        tenants = f"SELECT id FROM tenants_tenant WHERE slug IN ({names})"
        [[now]] = self.sql("SELECT now()")
        until(
            lambda: (
                self.count(f"tenants_snapshotschedule WHERE tenant_id IN ({tenants})") == len(slugs)
            )
        )
        self.sql(
            f"UPDATE tenants_snapshotschedule SET due_at = now() WHERE tenant_id IN ({tenants})"
        )
        kept = (
            f"tenants_snapshotschedule WHERE tenant_id IN ({tenants}) AND taken_at >= '{now}'"
            " AND EXISTS (SELECT 1 FROM tenants_snapshot AS one WHERE one.state = 'kept'"
            " AND one.tenant_id = tenants_snapshotschedule.tenant_id)"
        )
        # Two of one host are taken in a round, and a round is every five seconds.
        until(lambda: self.count(kept) == len(slugs), seconds=60 + 4 * len(slugs))

    def mark(self, slug: str, text: str) -> None:
        """Write into the shop's own volume, from inside."""
        self._python(slug, f"open('/data/mark', 'w').write('{text}')")

    def sell_without_end(self, slug: str) -> None:
        """Have the shop count no stock, or a long run would sell it out and test nothing more."""
        database = "s.connect('/data/shop.db', 5.0, 0, None)"
        update = "execute('UPDATE product SET stock = NULL')"
        self._python(slug, f"import _sqlite3 as s; {database}.{update}")

    def mark_of(self, slug: str) -> str:
        """What was written there last."""
        return self._python(slug, "print(open('/data/mark').read())").strip()

    def _python(self, slug: str, code: str) -> str:
        host = self.place(slug)
        further = () if host == "local" else ("--host", host)
        inside = ("/usr/bin/python3", "-c", code)
        enter = (str(REPO / "bin" / "stoa-env"), *further, "--as", "plain")
        runtime = ("python", "-m", "runtime", "exec", self.instance(slug))
        return _run(*enter, *runtime, *inside, env=self.stack.env)

    def place(self, slug: str) -> str:
        """The host that the record has the shop on; "" for none."""
        rows = self.sql(
            "SELECT host.name FROM tenants_placement AS place"
            " JOIN tenants_host AS host ON host.id = place.host_id"
            " JOIN tenants_instance AS one ON one.id = place.instance_id"
            " JOIN tenants_tenant AS tenant ON tenant.id = one.tenant_id"
            f" WHERE tenant.slug = '{slug}' AND place.until IS NULL"
        )
        return rows[0][0] if rows else ""

    def instance(self, slug: str) -> str:
        """The public id of the shop's instance."""
        [[found]] = self.sql(
            "SELECT one.public_id FROM tenants_instance AS one"
            " JOIN tenants_tenant AS tenant ON tenant.id = one.tenant_id"
            f" WHERE tenant.slug = '{slug}' AND one.state <> 'retired'"
        )
        return found

    def copies(self, slug: str) -> list[str]:
        """The hosts that run a container of the shop."""
        one = self.instance(slug)
        return [host for host in HOSTS if _pids(_cgroups(self.stack.scope, host, one))]

    def answers(self, slugs: Iterable[str]) -> dict[str, int]:
        """The status each shop's front page has through the edge; 0 for no answer within a second."""
        return {slug: self._status(slug) for slug in slugs}

    def _status(self, slug: str) -> int:
        with suppress(httpx.HTTPError):
            return httpx.get(
                f"http://127.0.0.1:{self.stack.port}/",
                headers={"Host": f"{slug}.localhost:{self.stack.port}"},
                timeout=1,
                trust_env=False,
            ).status_code
        return 0

    def all_serve(self, slugs: Sequence[str]) -> bool:
        """Whether every shop's front page answers 200 through the edge."""
        return all(self._status(slug) == httpx.codes.OK for slug in slugs)

    # Machines --------------------------------------------------------------------------------

    def kill(self, host: str) -> None:
        """End everything a host is, at once: supervisor, keeper, agent, containers."""
        self._end(_processes_in(self._netns(host)))  # first those who would start others again
        self._end(_pids(_cgroups(self.stack.scope, host)))

    def boot(self, host: str) -> None:
        """Start a host that does not run, as a machine boots: its supervisor starts everything else."""
        argv = ("/usr/bin/python3", "-SP", "-m", "installer", "boot", host)
        _run(*argv, env={**self.stack.env, "PYTHONPATH": str(REPO)})

    def cut(self, host: str, line: Line) -> None:
        """Break the line between a host and control, or its cable."""
        if line is Line.ALL:
            _run("ip", "link", "set", self._setting(host, "STOA_HOST_LINK"), "down")
            return
        address, _, redis_port = self._setting(host, "STOA_BROKER_ADDRESS").partition(":")
        depot_port = self._setting(host, "STOA_CONTROL_URL").rpartition(":")[2]
        rules = (
            "table inet cut {\n chain out {\n type filter hook output priority -300;\n"
            f" ip daddr {address} tcp dport {{ {redis_port}, {depot_port} }} drop\n }}\n}}\n"
        )
        _run("nsenter", f"--net={self._netns(host)}", "nft", "-f", "-", stdin=rules)

    def heal(self, host: str) -> None:
        """Mend whatever was cut."""
        _run("ip", "link", "set", self._setting(host, "STOA_HOST_LINK"), "up")
        script = "table inet cut { }\ndelete table inet cut\n"
        _run("nsenter", f"--net={self._netns(host)}", "nft", "-f", "-", stdin=script)

    def health(self, host: str) -> str:
        """Alive, unreachable or lost, by the record."""
        return self.sql(f"SELECT health FROM tenants_host WHERE name = '{host}'")[0][0]

    def all_alive(self) -> bool:
        """Whether every host is alive and knows its epoch."""
        alive = self.count(
            "tenants_host AS host JOIN tenants_hostreport AS report ON report.host_id = host.id"
            " WHERE host.health = 'alive' AND report.epoch = host.epoch"
            " AND report.seen_at > now() - interval '8 seconds'"
        )
        return alive == len(HOSTS)

    def routes_out(self, host: str) -> list[str]:
        """Default routes in the host's network; there should be none."""
        out = _run("nsenter", f"--net={self._netns(host)}", "ip", "route", "show", "default")
        return out.splitlines()

    def _netns(self, host: str) -> str:
        return self._setting(host, "STOA_HOST_NETNS")

    def _setting(self, host: str, name: str) -> str:
        lines = (self.stack.var / "hosts" / host / "settings").read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))

    def _end(self, pids: Iterable[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # The record ------------------------------------------------------------------------------

    def sql(self, query: str) -> list[list[str]]:
        """Ask the record itself; rows of text."""
        out = _run(
            "psql",
            "-h",
            str(self.stack.var / "postgres" / "socket"),
            "-U",
            "stoa",
            "-d",
            "stoa",
            "-AtF",
            "\t",
            "-c",
            query,
        )
        return [line.split("\t") for line in out.splitlines() if not line.startswith("UPDATE ")]

    def count(self, what: str) -> int:
        """How many rows there are of `table WHERE …`."""
        return int(self.sql(f"SELECT count(*) FROM {what}")[0][0])

    def recoveries(self, *slugs: str) -> list[list[str]]:
        """Slug and state of every recovery of these shops, oldest first."""
        names = ", ".join(f"'{slug}'" for slug in slugs)
        return self.sql(
            "SELECT tenant.slug, one.state FROM tenants_operation AS one"
            " JOIN tenants_tenant AS tenant ON tenant.id = one.tenant_id"
            f" WHERE one.verb = 'recover' AND tenant.slug IN ({names}) ORDER BY one.id"
        )


def until(
    condition: Callable[[], bool], *, seconds: float = 30, every: float = 0.3, told: object = ""
) -> float:
    """Wait for a condition; how many seconds it took. Fails the test when it does not come."""
    began = time.monotonic()
    while not condition():
        taken = time.monotonic() - began
        text = told() if callable(told) else told
        assert taken < seconds, f"not within {seconds:g} s: {text}"
        time.sleep(every)
    return time.monotonic() - began


def _cgroups(scope: str, host: str, instance: str = "ins_*") -> list[Path]:
    root, parent = Path("/sys/fs/cgroup"), f"{scope}_{host}"
    return [*root.glob(f"{parent}/{instance}"), *root.glob(f"pids/{parent}/{instance}")]


def _pids(folders: Iterable[Path]) -> set[int]:
    found: set[int] = set()
    for folder in folders:
        for file in folder.rglob("cgroup.procs"):
            with suppress(OSError):
                found |= {int(line) for line in file.read_text().split()}
    return found


def _processes_in(netns: str) -> list[int]:
    wanted = Path(netns).stat().st_ino
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "ns" / "net").stat().st_ino == wanted:
                found.append(int(folder.name))
    return found


def _run(*argv: str, stdin: str = "", env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, input=stdin, env=env)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout
