"""The commands that look at containers and images, or run something inside one."""

import json
import sys
import time
from argparse import Namespace
from collections import deque
from itertools import chain

from runtime.bundle import InstanceDirectory
from runtime.cli.following import LogFollower
from runtime.cli.tables import short, state, table
from runtime.config import HostConfig
from runtime.crun import CrunDriver
from runtime.crun.records import Records
from runtime.errors import InputError
from runtime.keeper.logs import stamp
from runtime.statuses import ContainerState
from runtime.units import Sample, bytes_text
from runtime.wire import to_wire

_SAMPLE_SECONDS = 1.0


def ps(config: HostConfig, arguments: Namespace) -> int:
    """List instances."""
    driver = CrunDriver(config)
    found = [
        status
        for status in driver.list()
        if arguments.all or status.state is not ContainerState.EXITED
    ]
    if arguments.json:
        return _print_json([to_wire(status) for status in found])
    if arguments.quiet:
        for status in found:
            print(status.instance_id)
        return 0
    names = {image.digest: image.name for image in driver.images()}
    records = Records(config.state_dir)
    rows = []
    for status in found:
        record = records.get(status.instance_id)
        inside = record.spec.container_port if record else 0
        rows.append(
            (
                status.instance_id,
                status.tenant,
                names.get(status.image_digest) or short(status.image_digest),
                state(status),
                str(status.restarts),
                f"{config.address}:{status.published_port}->{status.address}:{inside}",
            )
        )
    print(table(("INSTANCE", "TENANT", "IMAGE", "STATUS", "RESTARTS", "PORT"), rows))
    return 0


def logs(config: HostConfig, arguments: Namespace) -> int:
    """Show, and perhaps follow, an instance's log."""
    instance_id = find(config, arguments.instance)
    follower = LogFollower(InstanceDirectory.of(config.state_dir, instance_id))
    first = stamp(time.time() - arguments.since) if arguments.since else ""
    lines = (line for line in follower.present() if line >= first)
    newest = deque(lines, maxlen=None if arguments.tail < 0 else arguments.tail)
    if arguments.json:
        _print_json(
            [dict(zip(("time", "stream", "text"), _parts(line), strict=True)) for line in newest]
        )
        return 0
    for line in chain(newest, follower.coming() if arguments.follow else ()):
        shown = line if arguments.timestamps else _parts(line)[2]
        print(shown, flush=arguments.follow)
    follower.close()
    return 0


def stats(config: HostConfig, arguments: Namespace) -> int:
    """Show what running instances use, measured over one second."""
    driver = CrunDriver(config)
    wanted = {find(config, word) for word in arguments.instance}
    before = {sample.instance_id: sample for sample in driver.samples()}
    if arguments.json:
        chosen = [sample for name, sample in before.items() if not wanted or name in wanted]
        return _print_json([to_wire(sample) for sample in chosen])
    time.sleep(_SAMPLE_SECONDS)
    records = Records(config.state_dir)
    rows = []
    for sample in driver.samples():
        record = records.get(sample.instance_id)
        if record and (not wanted or sample.instance_id in wanted):
            limit = record.spec.ceilings.memory_bytes
            row = _usage(sample, before.get(sample.instance_id), limit)
            rows.append((sample.instance_id, record.spec.tenant, *row))
    header = ("INSTANCE", "TENANT", "CPU %", "MEMORY / LIMIT", "PIDS", "NET IN / OUT", "DISK")
    print(table(header, rows))
    return 0


def execute(config: HostConfig, arguments: Namespace) -> int:
    """Run a command inside an instance; its exit code becomes ours."""
    argv = tuple(arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv)
    instance_id = find(config, arguments.instance)
    if arguments.tty or arguments.interactive:
        return CrunDriver(config).exec_attended(instance_id, argv, terminal=arguments.tty)
    done = CrunDriver(config).exec(instance_id, argv, timeout_seconds=arguments.timeout)
    if arguments.json:
        _print_json(to_wire(done))
    else:
        sys.stdout.write(done.output)
        sys.stdout.flush()
    return done.exit_code


def find(config: HostConfig, name: str) -> str:
    """Return the id meant by an id, the start of one, or a tenant's name; InputError when it is none or
    several.
    """
    kept = Records(config.state_dir)
    records = kept.all()
    if name in records or name in kept.damaged():
        return name
    found = [instance_id for instance_id, record in records.items() if record.spec.tenant == name]
    found = found or [
        instance_id for instance_id in records if name and instance_id.startswith(name)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            f"no instance or tenant is called {name!r}; `python -m runtime ps -a` lists what is here"
        )
    raise InputError(f"{name!r} could be {', '.join(found[:5])}; give more of the id")


def _usage(sample: Sample, before: Sample | None, limit: int) -> tuple[str, str, str, str, str]:
    used = sample.cpu_nanos - before.cpu_nanos if before else 0
    return (
        f"{used / (_SAMPLE_SECONDS * 1e7):.1f}",
        f"{bytes_text(sample.memory_bytes)} / {bytes_text(limit)}",
        str(sample.pids),
        f"{bytes_text(sample.rx_bytes)} / {bytes_text(sample.tx_bytes)}",
        bytes_text(sample.disk_bytes),
    )


def _parts(line: str) -> tuple[str, str, str]:
    stamp, stream, text = (*line.split(" ", 2), "", "")[:3]
    return stamp, stream, text


def _print_json(value: object) -> int:
    print(json.dumps(value))
    return 0
