"""A test run that is killed costs the next one nothing."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support import leftovers

pytestmark = pytest.mark.root
_MAKES_A_HOST = """
from ipaddress import IPv4Network
from pathlib import Path
import sys, time
from runtime import network
from runtime.config import HostConfig
from tests.support import leftovers, network_parts
subnet, ports = IPv4Network("100.127.0.0/16"), range(10000, 10010)
config = HostConfig("left", leftovers.scope(), Path(sys.argv[1]), subnet, ports)
network.ensure_host(config)
network_parts.publish(config, published_port=10000, container_port=8000)
print(config.interface_prefix, flush=True)
time.sleep(60)
"""


def test_a_host_of_a_killed_run_is_swept_and_one_of_a_living_run_is_not(tmp_path: object) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", _MAKES_A_HOST, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert run.stdout
    prefix = run.stdout.readline().strip()
    table = f"p{run.pid}_left"
    assert table not in leftovers.sweep()
    assert prefix in _links()
    assert "100.127." in _routes()
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    assert table in leftovers.sweep()
    assert prefix not in _links()
    assert "100.127." not in _routes()
    assert table not in leftovers.sweep()


def test_the_scope_names_the_process_that_makes_a_host() -> None:
    assert leftovers.scope() == f"p{os.getpid()}"


def _links() -> str:
    return subprocess.run(["ip", "-br", "link"], check=True, capture_output=True, text=True).stdout


def _routes() -> str:
    return subprocess.run(["ip", "route"], check=True, capture_output=True, text=True).stdout
