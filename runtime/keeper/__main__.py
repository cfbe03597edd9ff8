"""`python -m runtime.keeper`: serve until SIGTERM, which stops every container and keeps what is wanted."""

import argparse
import fcntl
import os
import signal
import socket
import sys
from pathlib import Path

from runtime import network, rootfs
from runtime.bundle import HostFeatures
from runtime.cgroup import Cgroups
from runtime.config import HostConfig, host_config
from runtime.disk import remount
from runtime.errors import HostError, RuntimeCoreError
from runtime.keeper.keeper import Keeper
from runtime.keeper.loop import Loop
from runtime.keeper.processes import SIGNALS, say
from runtime.keeper.renewing import handover
from runtime.keeper.renewing.upgrade import Upgrade
from runtime.keeper.server import Server
from runtime.keeper.starting.launch import Launcher
from runtime.keeper.supervised import Listener
from runtime.keeper.watching.burner_watch import BurnerWatch
from runtime.keeper.watching.freezing import Freezing
from runtime.keeper.watching.furniture_watch import FurnitureWatch
from runtime.keeper.watching.health_watch import HealthHooks, HealthWatch
from runtime.keeper.watching.mending import Mender
from runtime.keeper.watching.network_watch import NetworkWatch
from runtime.keeper.watching.probe import Probe
from runtime.system import syscalls
from runtime.system.files import open_lock

STOP_GRACE_SECONDS = 10.0


class _LastWord(Listener):
    """Told when every container has ended after SIGTERM."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def tell(self, message: dict[str, object]) -> None:
        self._loop.stop()


def main(argv: list[str]) -> int:
    """Run the keeper of the host that STOA_* variables describe; the process exit code."""
    arguments = _arguments(argv)
    try:
        config = host_config(os.environ)
        if arguments.check is not None:
            handover.read_state(arguments.check)
            return 0
        before = handover.read_state(arguments.take_over) if arguments.take_over else None
        lock = before["lock"] if before else _only_keeper(config)
        launcher = _prepared(config)
    except RuntimeCoreError as error:
        say(str(error))
        return 1
    loop = Loop()
    keeper = Keeper(loop, launcher)
    _take_signals(loop, keeper)
    server = _go_on(loop, keeper, config, before) if before else _begin(loop, keeper, config)
    server.freezing = freezing = Freezing(loop, launcher.cgroups)
    server.on_upgrade = Upgrade(loop, keeper, server, lock).begin
    _begin_watches(loop, keeper, launcher, freezing)
    probe = Probe(loop, config)
    probe.open()
    say(f"serving {config.scope}/{config.name} on {config.keeper_socket}")
    loop.run()
    probe.close()
    server.close()
    keeper.remember()
    os.close(lock)
    return 0


def _begin_watches(loop: Loop, keeper: Keeper, launcher: Launcher, freezing: Freezing) -> None:
    config, cgroups = launcher.config, launcher.cgroups
    NetworkWatch(loop, config).look()
    BurnerWatch(loop, config, cgroups).look()
    FurnitureWatch(loop, config).look()
    mender = Mender(loop, config, cgroups)
    hooks = HealthHooks(
        keeper.running, keeper.note_health, mender.replug, mender.take_back, freezing.was_frozen
    )
    HealthWatch(loop, config, cgroups, hooks).look()


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m runtime.keeper", description=__doc__)
    parser.add_argument(
        "--check", type=int, metavar="FD", help="only say whether this code could take over"
    )
    parser.add_argument(
        "--take-over", type=int, metavar="FD", help="go on with what other code hands over"
    )
    return parser.parse_args(argv)


def _begin(loop: Loop, keeper: Keeper, config: HostConfig) -> Server:
    keeper.resume()
    return Server(loop, keeper, config.keeper_socket)


def _go_on(loop: Loop, keeper: Keeper, config: HostConfig, before: handover.State) -> Server:
    """Take up what this same process had under its former code."""
    for fd in handover.descriptors(before):
        os.set_inheritable(fd, False)
    listening = socket.socket(fileno=before["listening"])
    server = Server(loop, keeper, config.keeper_socket, listening=listening)
    listeners = server.take_over(before["connections"])
    keeper.take_over(before, listeners)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    keeper.reap()
    if before["asked"] >= 0:
        listeners[before["asked"]].tell({"ok": True, "pid": os.getpid()})
    for connection, handed in zip(server.connections[:], before["connections"], strict=True):
        connection.go_on(handed)
    return server


def _prepared(config: HostConfig) -> Launcher:
    syscalls.become_subreaper()
    syscalls.name_process("stoa-keeper")
    cgroups = Cgroups.detect(config)
    remount(config.state_dir)  # after a reboot nobody else has done it yet
    network.ensure_host(config)
    rootfs.ensure_furniture(config)
    return Launcher(config, cgroups, _features(cgroups))


def _only_keeper(config: HostConfig) -> int:
    """Hold the state directory for this process alone; HostError when another keeper has it."""
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = open_lock(config.state_dir / "keeper.lock")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise HostError(
            f"another keeper serves {config.state_dir}; stop it or use another STOA_HOST_STATE"
        ) from None
    return fd


def _features(cgroups: Cgroups) -> HostFeatures:
    """Swap can be limited on cgroup v2, and on v1 where the kernel accounts for it."""
    memsw = Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
    v2 = Path("/sys/fs/cgroup/cgroup.controllers")
    return HostFeatures(
        swap_accounting=memsw.exists() or v2.exists(), io_devices=cgroups.io_devices()
    )


def _take_signals(loop: Loop, keeper: Keeper) -> None:
    """Signals become bytes on a socket the loop reads, so that nothing is ever interrupted half-way."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, lambda _number, _frame: None)

    def arrived() -> None:
        numbers = set(ours.recv(4096))
        if signal.SIGCHLD in numbers:
            keeper.reap()
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            say("stopping every container")
            keeper.stop_all(_LastWord(loop), grace_seconds=STOP_GRACE_SECONDS)

    loop.watch(ours.fileno(), arrived)
    _kept_open.extend((ours, theirs))


_kept_open: list[socket.socket] = []

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
