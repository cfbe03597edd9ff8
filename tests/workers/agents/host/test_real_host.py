"""The whole way on one machine: a call starts a real container, another routes it, the edge serves it."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import HostUnreachableError, ImageUnavailableError, ImageUnknownError
from runtime.statuses import ContainerState, InstanceStatus
from runtime.wire import JsonValue, from_wire, to_wire
from tests.runtime.edge.conftest import get, wait_for
from tests.runtime.hosts import BUSYBOX, Host, write_test_image
from tests.workers.agents.conftest import Site

pytestmark = pytest.mark.root


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Host]:
    if not BUSYBOX.exists():
        pytest.skip(f"no {BUSYBOX}: apt-get install busybox-static")
    state_dir = tmp_path / "machine"
    state_dir.mkdir()
    machine = Host(state_dir)
    write_test_image(tmp_path / "layout")
    machine.digest = machine.images.import_layout(tmp_path / "layout", "test")
    yield machine
    machine.close()


@pytest.fixture
def site(site: Site, machine: Host) -> Site:
    own = ("STOA_HOST_NAME", "STOA_SCOPE", "STOA_HOST_STATE", "STOA_SUBNET", "STOA_PORTS")
    site.environ.update({name: machine.environ[name] for name in own})
    site.environ["STOA_EDGE_NETWORKS"] = machine.environ["STOA_SUBNET"]
    site.environ["STOA_DRIVER"] = ""
    return site


def test_a_container_started_by_a_call_is_served_through_the_edge_and_leaves_nothing(
    site: Site, machine: Host
) -> None:
    site.control()
    machine.start_keeper()
    queue = f"host.{machine.config.name}"
    agent = site.agent("host", queue=queue)
    edge = site.agent("edge")
    site.haproxy()
    site.until(lambda: bool((site.broker.report("edge.local") or {}).get("ready")), edge)

    spec = machine.spec(
        20 + secrets.randbelow(400)
    )  # an id of its own: traces are looked for everywhere
    value = site.ask(queue, "ensure_running", {"spec": to_wire(spec)}, fence=(1, 1))
    status = from_wire(InstanceStatus, value)
    assert (status.state, status.healthy) == (ContainerState.RUNNING, True)
    to = f"{spec.tenant}@{machine.config.address}:{spec.published_port}"
    route: JsonValue = {
        "hostname": f"{spec.tenant}.localhost",
        "value": to,
        "version": 1,
        "sequence": 1,
    }
    site.ask("edge.local", "apply", {"routes": [route]})
    assert get(site.base + 6, f"{spec.tenant}.localhost", "/healthz").body == b"well\n"

    report = site.broker.report(queue)
    assert report
    wait_for(lambda: bool((site.broker.report(queue) or {}).get("inventory")))

    agent.kill()
    assert get(site.base + 6, f"{spec.tenant}.localhost", "/healthz").status == 200
    site.agent("host", queue=queue)
    again = site.ask(queue, "ensure_running", {"spec": to_wire(spec)}, fence=(1, 2))
    assert from_wire(InstanceStatus, again).pid == status.pid, "a second container was started"

    gone: dict[str, JsonValue] = {
        "instance_id": spec.instance_id,
        "volume": "delete",
        "grace_seconds": 1.0,
    }
    site.ask(queue, "ensure_absent", gone, fence=(1, 3))
    assert machine.traces(spec) == []
    assert get(site.base + 6, f"{spec.tenant}.localhost").status == 503


def test_an_image_the_host_lacks_and_cannot_get_is_named_by_its_code(
    site: Site, machine: Host
) -> None:
    machine.start_keeper()
    queue = f"host.{machine.config.name}"
    site.agent("host", queue=queue)
    spec: dict[str, JsonValue] = {
        "spec": to_wire(machine.spec(2, image_digest="sha256:" + "0" * 64))
    }
    with pytest.raises(ImageUnavailableError, match=r"does not give|still being fetched") as caught:
        site.ask(queue, "ensure_running", spec, fence=(1, 1))
    assert caught.value.may_repeat  # the control plane is away
    site.control()
    # What is still being tried from before may be what is answered first.
    deadline = time.monotonic() + 30
    while True:
        try:
            site.ask(queue, "ensure_running", spec, fence=(1, 1))
        except ImageUnknownError:
            break
        except ImageUnavailableError:
            assert time.monotonic() < deadline


def test_a_host_whose_keeper_is_gone_falls_silent_and_reports_again_with_it(
    site: Site, machine: Host
) -> None:
    machine.start_keeper()
    queue = f"host.{machine.config.name}"
    agent = site.agent("host", queue=queue)
    boot_id = site.boot_id(queue)
    machine.end_keeper()
    site.until(lambda: "no report" in agent.text(), agent)
    with site.broker.client() as client:
        client.delete(f"report.{queue}")
    with pytest.raises(HostUnreachableError):
        site.ask(queue, "list")
    machine.start_keeper()
    site.until(lambda: site.boot_id(queue) == boot_id, agent)
    assert site.ask(queue, "list") == []
