"""A host agent whose driver is in memory and does as a test tells it, through two files.

`told.json` in its state directory: {"round": n, "digest": image it holds, "spares": {digest: is young}};
a new round forgets all. Spares can be fetched. "writes": [volume, file, content in hex], each done once.
`volumes.json` is what it tells back: the files of each volume.
A spec with STOA_FAKE=ends|sick|slow goes wrong that way. With STOA_FAKE_AGENT=older the whole agent is from
before volumes had marks: it has never heard of some words and calls, and makes a volume for everybody.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime import wire
from runtime.errors import ExitedError, UnhealthyError
from runtime.specs import Fence, InstanceSpec, VolumeFate
from runtime.statuses import ImageStatus, InstanceStatus
from runtime.volume_requests import VolumeLoad, VolumeLoaded, VolumeSave, VolumeSaved
from tests.support.fake_driver import FakeDriver
from workers.agents.common.dispatch import Calls
from workers.agents.common.methods import Method

_HERE = Path(os.environ["STOA_HOST_STATE"])
_IS_OLDER = os.environ.get("STOA_FAKE_AGENT") == "older"
_NOT_KNOWN_YET = {"new_volume", "only_missing"}


class ToldDriver(FakeDriver):
    """FakeDriver in another process."""

    def __init__(self) -> None:
        super().__init__()
        self._round = 0
        self._spares: dict[str, bool] = {}
        self._written = 0

    def ensure_running(self, spec: InstanceSpec, *, fence: Fence) -> InstanceStatus:
        self._listen()
        if _IS_OLDER:
            spec = replace(spec, new_volume=True)
        mode = dict(spec.env).get("STOA_FAKE", "")
        if mode == "ends":
            error = ExitedError("ended", exit_code=3, log_lines=["cannot go on"])
            self.fail_next("ensure_running", error)
        elif mode == "sick":
            self.fail_next("ensure_running", UnhealthyError("not well"))
        elif mode == "slow":
            time.sleep(2)
        try:
            return super().ensure_running(spec, fence=fence)
        finally:
            self._tell()

    def ensure_absent(
        self, instance_id: str, *, fence: Fence, volume: VolumeFate, grace_seconds: float = 10.0
    ) -> None:
        self._listen()
        super().ensure_absent(instance_id, fence=fence, volume=volume)
        self._tell()

    def save_volume(self, save: VolumeSave) -> VolumeSaved:
        self._listen()
        return super().save_volume(save)

    def load_volume(self, load: VolumeLoad, *, fence: Fence) -> VolumeLoaded:
        self._listen()
        try:
            return super().load_volume(load, fence=fence)
        finally:
            self._tell()

    def status(self, instance_id: str) -> InstanceStatus:
        self._listen()
        return super().status(instance_id)

    def ensure_image(self, digest: str, source: str = "") -> ImageStatus:
        self._listen()
        found = super().ensure_image(digest, source)
        self.young = {one for one in self.young if self._spares.get(one)}
        return found

    def list(self) -> tuple[InstanceStatus, ...]:
        self._listen()
        return super().list()

    def _listen(self) -> None:
        with self._lock:
            file = _HERE / "told.json"
            told: dict[str, Any] = {"round": 0, "digest": ""}
            if file.exists():
                told = json.loads(file.read_text())
            if told["round"] != self._round:
                FakeDriver.__init__(self, frozenset({str(told["digest"])}))
                self._written = 0
                self._round = int(str(told["round"]))
            self._spares = dict(told.get("spares", {}))
            self.sources = set(self._spares)
            for volume, name, content in told.get("writes", [])[self._written :]:
                self.contents[volume][name] = bytes.fromhex(content)
                self._written += 1

    def _tell(self) -> None:
        told = {
            volume: {name: one.hex() for name, one in self.contents[volume].items()}
            for volume in sorted(self.volumes)
        }
        (_HERE / "volumes.json").write_text(json.dumps(told))


from workers.agents.host import main  # noqa: E402 - reads the environment when it is imported

main._driver = ToldDriver
if _IS_OLDER:
    known, calls = wire._fields, Calls.__init__

    def _fields_of_before(kind: type) -> dict[str, Any]:
        return {name: one for name, one in known(kind).items() if name not in _NOT_KNOWN_YET}

    def _calls_of_before(self: Calls, task: str, methods: Mapping[str, Method[Any, Any]]) -> None:
        calls(self, task, {name: one for name, one in methods.items() if name != "volumes_here"})

    wire._fields = _fields_of_before  # type: ignore[assignment]
    Calls.__init__ = _calls_of_before  # type: ignore[method-assign]
app = main.app
