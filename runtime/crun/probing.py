"""Asking containers that the keeper started by itself whether they are well again."""

import time
from collections.abc import Callable
from typing import Any

from runtime.bundle import InstanceRecord
from runtime.crun import health
from runtime.keeper.client import KeeperClient
from runtime.specs import InstanceSpec

_ASK_SECONDS = 0.5
# After a reboot a thousand wait to be asked; what is well answers in a millisecond or two.
_ROUND_SECONDS = 1.0


class Prober:
    """address_of: where a container answers on this host. For one thread's `ask` at a time."""

    def __init__(self, keeper: KeeperClient, address_of: Callable[[InstanceSpec], str]) -> None:
        self._keeper = keeper
        self._address_of = address_of
        self._asked: dict[str, float] = {}

    def is_well(self, spec: InstanceSpec) -> bool:
        """Return whether the container answers its health path, or takes connections where it has none."""
        return health.answers(
            self._address_of(spec), spec.container_port, spec.health_path, timeout=_ASK_SECONDS
        )

    def ask(self, records: dict[str, InstanceRecord], shown: dict[str, dict[str, Any]]) -> None:
        """Confirm to the keeper those that answer; shown, its view, is brought up to date."""
        unsure = [
            name
            for name, state in shown.items()
            if state["phase"] == "running" and state["proven"] and not state["healthy"]
        ]
        asked = self._asked = {name: self._asked.get(name, 0.0) for name in unsure}
        until = time.monotonic() + _ROUND_SECONDS
        # Who was asked longest ago comes first: some that never answer do not keep the rest waiting.
        for name in sorted(unsure, key=asked.__getitem__):
            if (now := time.monotonic()) > until:
                break
            asked[name] = now
            if name in records and self.is_well(records[name].spec):
                self._keeper.ask("confirm", id=name)
                shown[name]["healthy"] = True
