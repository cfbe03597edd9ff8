"""One further host of this machine: made, started, brought up to date, stopped and cleaned."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from installer.commands import logged, tail
from installer.installation import ENTER, Installation
from installer.machine import processes
from installer.machine import store as machine_store
from installer.progress import InstallError
from installer.supervising.supervisor import Supervisor, SupervisorError
from settings import hosts, inner
from settings.site import further_host

_CGROUPS = Path("/sys/fs/cgroup")
_PERIOD_MICROSECONDS = 100_000
_STOP_SECONDS = 10.0
HostAct = Callable[[Installation, str], None]


def each(act: HostAct, of: Installation, names: Sequence[str]) -> None:
    """Do it for all of these hosts at once; raises what one of them raises, when all have ended."""
    if not names:
        return
    with ThreadPoolExecutor(len(names)) as pool:
        doing = [pool.submit(act, of, name) for name in names]
    for task in doing:
        task.result()


def supervisor(of: Installation, host: str) -> Supervisor:
    """Return the supervisor of a further host."""
    place = of.short / "hosts" / host
    return Supervisor(of.var / "hosts" / host, place, f"{of.scope}-{host}")


def write_conf(of: Installation, host: str) -> Supervisor:
    """Write the configuration of a host's supervisor. As at a machine's boot, it starts all by itself."""
    found = supervisor(of, host)
    enter = f"{ENTER} --host {host}"
    keeper = f"{enter} --as plain --program keeper python -m runtime.keeper"
    agent = f"{enter} --as host --program host-agent python -m workers.agents host"
    found.write("supervisord-host.conf.in", {"KEEPER": keeper, "AGENT": agent}, autostart=True)
    return found


def start(of: Installation, host: str) -> None:
    """Start a host's supervisor, which starts everything else; no-op while it runs."""
    if supervisor(of, host).pid():
        return
    limit(of, host)
    store(of, host)
    netns = inner.HOST_NETNS.text(further_host(of.var, host))
    inside = ("nsenter", f"--net={netns}")
    write_conf(of, host).start(inside=inside, environ=of.start_environment())


def stop(of: Installation, host: str) -> None:
    """Stop a host with its shops, which stay wanted; nothing of it is deleted."""
    found = supervisor(of, host)
    pid = found.pid()
    if not pid:
        return
    with suppress(SupervisorError):  # what does not stop is ended below, and by bin/down
        found.ask("stop", "host-agent", "keeper")
    end_supervisor(found, pid)


def end_supervisor(found: Supervisor, pid: int) -> None:
    """End a supervisor whose programs have stopped."""
    try:
        found.ask("shutdown")
    except SupervisorError:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    processes.end([pid], None, _STOP_SECONDS)


def clean(of: Installation, host: str) -> None:
    """End what the runtime has of it in the kernel: it knows its own. Then the store's loop device."""
    state = of.var / "hosts" / host / "state"
    if not state.is_dir():
        return
    log = of.var / "logs" / f"down-{host}.log"
    argv = of.enter(sys.executable, "-S", "-m", "runtime", "purge", role="plain", host=host)
    if logged(argv, log, env=of.environ):
        raise InstallError(f"the runtime could not clean up {host}", tail(log, 5))
    machine_store.release(state)


def limit(of: Installation, host: str) -> None:
    """Give it processor and memory, as its owner. The runtime makes the same directories."""
    name = f"{of.scope}_{host}"
    quota = hosts.LAB_CPU_MILLIS.of(of.environ) * _PERIOD_MICROSECONDS // 1000
    memory = hosts.LAB_MEMORY_BYTES.of(of.environ)
    if (_CGROUPS / "cgroup.controllers").exists():
        _give(_CGROUPS / "cgroup.subtree_control", "+cpu +memory")
        place = _CGROUPS / name
        place.mkdir(parents=True, exist_ok=True)
        _give(place / "cpu.max", f"{quota} {_PERIOD_MICROSECONDS}")
        _give(place / "memory.max", str(memory))
        return
    for controller in ("cpu", "memory"):
        (_CGROUPS / controller / name).mkdir(parents=True, exist_ok=True)
    _give(_CGROUPS / "cpu" / name / "cpu.cfs_period_us", str(_PERIOD_MICROSECONDS))
    _give(_CGROUPS / "cpu" / name / "cpu.cfs_quota_us", str(quota))
    _give(_CGROUPS / "memory" / name / "memory.limit_in_bytes", str(memory))


def _give(file: Path, value: str) -> None:
    """Where this machine lets us; the capacity in the record holds anyway."""
    if file.exists():
        with suppress(OSError):
            file.write_text(value + "\n")


def store(of: Installation, host: str) -> None:
    """Make the place of its shops' data. Idempotent."""
    size = hosts.LAB_STORE_BYTES
    notes: list[str] = []
    machine_store.ensure(
        inner.HOST_STATE.of(further_host(of.var, host)),
        size.of(of.environ),
        of=f"of {host}",
        remedy=f"a size that fits: {size.name}=1G bin/up",
        note=notes.append,
    )
    log = of.var / "hosts" / host / "logs/store.log"
    log.write_text("".join(f"{note}\n" for note in notes))
