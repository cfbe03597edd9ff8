"""Reports as agents leave them in the broker."""

import json
from collections.abc import Iterator

import pytest
import redis

from workers.broker import queues
from workers.reconcilers import report_ingest

SAMPLE = {
    "instance_id": "ins_aaaaaaaa",
    "cpu_nanos": 5,
    "cpu_throttled_nanos": 0,
    "memory_bytes": 6,
    "memory_peak_bytes": 7,
    "oom_kills": 0,
    "pids": 1,
    "rx_bytes": 1,
    "tx_bytes": 2,
    "disk_bytes": 3,
}


class Reports:
    """Reports as agents leave them."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.fields: dict[str, object] = {
            "v": 1,
            "boot_id": "boot-1",
            "seq": 4,
            "digest": "d1",
            "inventory": [{"instance_id": "ins_aaaaaaaa", "state": "running"}],
            "usage": {"cpu_millis": 150, "memory_bytes": 10, "disk_bytes": 20},
            "samples": [SAMPLE],
        }

    def host(self, *, seconds_ago: float = 0, **changes: object) -> None:
        self._set(queues.host_queue("local"), self.fields | changes, seconds_ago)

    def edge(self, *, seconds_ago: float = 0, **changes: object) -> None:
        fields = {"v": 1, "boot_id": "e1", "seq": 1, "applied": 7, "digest": "x", "ready": True}
        self._set(queues.edge_queue("local"), fields | changes, seconds_ago)

    def _set(self, queue: str, fields: dict[str, object], seconds_ago: float) -> None:
        left = int((30 - seconds_ago) * 1000)
        self.client.set(queues.report_key(queue), json.dumps(fields), px=left)


@pytest.fixture
def reports(redis_url: str) -> Iterator[Reports]:
    report_ingest._last_window.clear()
    with redis.Redis.from_url(redis_url) as client:
        yield Reports(client)
        client.delete("report.host.local", "report.edge.local")
