"""Leaves a report beside the queue every two seconds, so that control knows who is there and what runs.

A report expires by itself: an agent that is gone or stuck falls silent. What a report holds is
collected anew each time; when that fails nothing is sent, which says the same. It says since when it was
collected, by the broker's clock, which is also asked for its age: no other two clocks are compared.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping

import redis

from runtime.errors import RuntimeCoreError
from runtime.wire import JsonValue
from workers.agents.common.boot import connect
from workers.broker.queues import report_key

log = logging.getLogger(__name__)

PERIOD_SECONDS = 2.0
LIFE_SECONDS = 30
PROTOCOL = 1

Collect = Callable[[], Mapping[str, JsonValue]]


class Reporter:
    """A thread that reports until stopped."""

    def __init__(self, url: str, queue: str, *, boot_id: str, collect: Collect) -> None:
        self._redis = connect(url)
        self._key = report_key(queue)
        self._boot_id = boot_id
        self._collect = collect
        self._sequence = 0
        self._trouble = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and take the report back, so that control knows at once."""
        self._stopping.set()
        self._thread.join(PERIOD_SECONDS * 2)
        try:
            self._redis.delete(self._key)
        except redis.RedisError:
            log.info("the last report stays until it expires: the broker does not answer")

    def report(self) -> None:
        """Collect and send one report; RuntimeCoreError or RedisError when that cannot be done."""
        self._sequence += 1
        # Control looks for the boot id in the first 256 bytes: it goes first.
        head: dict[str, JsonValue] = {
            "v": PROTOCOL,
            "boot_id": self._boot_id,
            "seq": self._sequence,
            "began_ms": self._broker_ms(),
        }
        self._redis.set(self._key, json.dumps(head | dict(self._collect())), ex=LIFE_SECONDS)

    def _broker_ms(self) -> int | None:
        """Return the broker's clock; None while control, one version behind, does not let agents ask
        for it.
        """
        try:
            seconds, micros = self._redis.time()
        except redis.exceptions.NoPermissionError:
            return None
        return int(seconds) * 1000 + int(micros) // 1000

    def _run(self) -> None:
        while True:
            try:
                self.report()
                self._note("")
            except (RuntimeCoreError, redis.RedisError) as error:
                self._note(str(error))
            except Exception:
                # A report that cannot be made must not end reporting for good.
                log.exception("a report failed unexpectedly")
            if self._stopping.wait(PERIOD_SECONDS):
                return

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("no report: %s", trouble)
        elif self._trouble and not trouble:
            log.info("reporting again")
        self._trouble = trouble
