"""Data that is away, damaged or gone: shops wait with their place, take an older copy, or a choice."""

import os
import signal
from pathlib import Path

import pytest

from tests.lab.machines import Lab, until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.stack,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(1200),
]


def instance_state(lab: Lab, slug: str) -> str:
    [[state]] = lab.sql(
        "SELECT one.state FROM tenants_instance AS one JOIN tenants_tenant AS tenant"
        f" ON tenant.id = one.tenant_id WHERE tenant.slug = '{slug}'"
    )
    return state


def alarm(lab: Lab, key: str) -> str:
    rows = lab.sql(f"SELECT message FROM tenants_alarm WHERE key = '{key}' AND cleared_at IS NULL")
    return rows[0][0] if rows else ""


def test_a_lost_hosts_shop_waits_for_a_depot_that_is_stopped(lab: Lab) -> None:
    lab.sign_up("waits", on="host2")
    lab.mark("waits", "kept")
    lab.snapshot("waits")
    lab.stack.stop("depot")
    lab.kill("host2")
    until(
        lambda: bool(alarm(lab, "data.waiting")),
        seconds=180,
        told=lambda: (lab.health("host2"), lab.recoveries("waits")),
    )
    assert lab.recoveries("waits") == [["waits", "pending"]]
    assert lab.answers(["waits"])["waits"] != 200
    assert lab.place("waits") == "host2", "its place is kept until its data is elsewhere"

    lab.stack.start("depot")
    until(lambda: lab.all_serve(["waits"]), seconds=90, told=lambda: lab.recoveries("waits"))
    assert lab.mark_of("waits") == "kept"
    until(lambda: not alarm(lab, "data.waiting"), seconds=60)
    lab.boot("host2")
    until(lab.all_alive, seconds=60)
    until(lambda: lab.copies("waits") == [lab.place("waits")], seconds=60)


def test_a_damaged_newest_copy_gives_way_to_the_one_before(lab: Lab) -> None:
    lab.sign_up("older", on="host2")
    lab.mark("older", "one")
    lab.snapshot("older")
    lab.mark("older", "two")
    lab.snapshot("older")
    [[tenant, name]] = lab.sql(
        "SELECT tenant.public_id, one.public_id FROM tenants_snapshot AS one JOIN tenants_tenant"
        " AS tenant ON tenant.id = one.tenant_id WHERE tenant.slug = 'older'"
        " AND one.state = 'kept' ORDER BY one.started_at DESC LIMIT 1"
    )
    (archive,) = lab.stack.var.glob(f"**/{tenant}/{name}")
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    lab.kill("host2")
    until(lambda: lab.all_serve(["older"]), seconds=120, told=lambda: lab.recoveries("older"))
    assert lab.mark_of("older") == "one"
    assert lab.count(f"tenants_snapshot WHERE public_id = '{name}' AND state = 'failed'") == 1
    lab.boot("host2")
    until(lab.all_alive, seconds=60)


def test_a_volume_that_was_moved_away_is_told_and_its_newest_copy_chosen(lab: Lab) -> None:
    lab.sign_up("gone", on="local")
    lab.mark("gone", "kept")
    lab.snapshot("gone")
    [[tenant]] = lab.sql("SELECT public_id FROM tenants_tenant WHERE slug = 'gone'")
    host = lab.stack.var / "host"
    name = tenant.replace("_", "-")
    (volume,) = [
        one for one in (host / "store" / name / "data", host / "volumes" / name) if one.exists()
    ]
    volume.rename(volume.with_name("moved-away"))
    _end(lab.instance("gone"))
    until(
        lambda: instance_state(lab, "gone") == "data_missing",
        seconds=90,
        told=lambda: instance_state(lab, "gone"),
    )
    until(lambda: "data is missing" in alarm(lab, "data.missing"), seconds=30)
    assert not volume.exists()
    found = lab.stack.api.get("/api/v1/tenants/gone/data").json()
    assert found["is_missing"]
    assert "is not there" in found["reason"]

    answer = lab.stack.api.post("/api/v1/tenants/gone/data", json={"choice": "newest"})
    assert lab.stack.wait(answer.json()["operation"]["id"])["state"] == "succeeded"
    assert lab.all_serve(["gone"])
    assert lab.mark_of("gone") == "kept"
    until(lambda: not alarm(lab, "data.missing"), seconds=30)

    # Once more; this time it is brought back.
    lab.mark("gone", "newer")
    volume.rename(volume.with_name("moved-again"))
    _end(lab.instance("gone"))
    until(lambda: instance_state(lab, "gone") == "data_missing", seconds=90)
    volume.with_name("moved-again").rename(volume)
    until(lambda: lab.all_serve(["gone"]), seconds=90)
    assert lab.mark_of("gone") == "newer"


def _end(instance: str) -> None:
    """kill -9 of the container's first processes."""
    for place in Path("/sys/fs/cgroup").rglob(f"{instance}/cgroup.procs"):
        for pid in place.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        return
