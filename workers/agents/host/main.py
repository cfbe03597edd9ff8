"""The agent of a host: `celery -A workers.agents.host.main:app worker -Q host.<name> --pool threads`.

Celery reads the name `app` from here; everything that acts is made when the worker begins, so that
importing this module touches nothing.
"""

import logging
import os
import time
from pkgutil import resolve_name

from runtime.cgroup.slice import slice_of
from runtime.config import host_config
from runtime.disk import watermarks
from runtime.driver import Driver
from runtime.errors import RuntimeCoreError
from settings import inner
from workers.agents.common import boot
from workers.agents.common.app import create_app
from workers.agents.common.envelope import Envelope
from workers.agents.common.reporter import Reporter
from workers.agents.common.serving import serve
from workers.agents.host.adoption import Adoption
from workers.agents.host.handlers import HostCalls
from workers.agents.host.report import ReportCollector
from workers.broker.queues import host_queue

log = logging.getLogger(__name__)

_KEEPER_SECONDS = 60.0

_config = host_config(os.environ)
_queue = host_queue(_config.name)
app = create_app(_queue, broker_url=boot.broker_url(os.environ))


class _Agent:
    """What a booted agent holds; made once, before the first call can arrive."""

    def __init__(self) -> None:
        self.lock = boot.lock_state(_config.state_dir)
        self.driver = _driver()
        _wait_for_driver(self.driver)
        _ensure_network()  # after the keeper, which does it at its own start
        boot.clear_queue(_url(), _queue)
        self.adoption = Adoption(self.driver, _config.state_dir)
        self.calls = HostCalls(self.driver, self.adoption)
        self.reporter = Reporter(
            _url(),
            _queue,
            boot_id=boot.new_boot_id(),
            collect=ReportCollector(
                self.driver,
                state_dir=_config.state_dir,
                marks=watermarks(os.environ),
                epoch=lambda: self.adoption.known,
                slice_=slice_of(_config, os.environ),
            ).collect,
        )

    def answer(self, message: object) -> Envelope:
        """Carry out one call on this host and answer with an envelope."""
        return self.calls.call(message)

    def start(self) -> None:
        """Begin to report."""
        self.reporter.start()

    def stop(self) -> None:
        """Take the report back."""
        self.reporter.stop()


def _driver() -> Driver:
    """CrunDriver, or what STOA_DRIVER names as module:class; only tests set that."""
    named = inner.DRIVER.of(os.environ)
    if named:
        driver: Driver = resolve_name(named)()
        return driver
    from runtime.crun import CrunDriver

    return CrunDriver(_config)


def _ensure_network() -> None:
    """Put the host's own address and nftables table back when somebody took them away."""
    if inner.DRIVER.of(os.environ):
        return
    from runtime.network.host import ensure_host

    try:
        ensure_host(_config)
    except RuntimeCoreError as error:
        raise SystemExit(f"this host's network cannot be set up: {error.message}") from error


def _wait_for_driver(driver: Driver) -> None:
    """Wait until the keeper answers; SystemExit when it does not come."""
    deadline = time.monotonic() + _KEEPER_SECONDS
    while True:
        try:
            held = driver.list()
        except RuntimeCoreError as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"the keeper does not answer: {error.message}") from error
            time.sleep(0.2)
        else:
            log.info("this host holds %d instances", len(held))
            return


def _url() -> str:
    return str(app.conf.broker_url)


serve(app, "host.call", _Agent)
