"""What goes on in a lab while bench/chaos.py breaks it: sign-ups, orders, moves, restores and removals.

Everybody asks as a program would: with an idempotency key, again and again until an answer comes. What was
answered with "taken" is written down here, and the audit looks afterwards whether it came true.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from tests.lab.machines import HOSTS, Lab
from workers.flows.errors import LEFT_OLDER, LEFT_UNSURE

GIVE_UP_SECONDS = 180.0
_PAUSE = 0.5


@dataclass(slots=True)
class Restored:
    """A shop that is taken back again and again. may_be: what its mark may say now."""

    slug: str
    number: int = 0
    may_be: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


@dataclass
class Work:
    """Steady mixed work from start() to stop(). sellers are moved, never restored or removed."""

    lab: Lab
    dice: random.Random
    sellers: list[str]
    restored: list[Restored]
    mark: str = ""
    operations: dict[str, str] = field(default_factory=dict)  # public id → "verb slug"
    living: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    not_taken: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> "Work":
        """Begin: newcomers, movers, and one thread for each shop that is taken back."""
        self._threads = [
            threading.Thread(target=self._newcomers, args=(self._dice(),), daemon=True),
            threading.Thread(target=self._movers, args=(self._dice(),), daemon=True),
            *(
                threading.Thread(target=self._restores, args=(one,), daemon=True)
                for one in self.restored
            ),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """End, once everybody has an answer to what was asked."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _dice(self) -> random.Random:
        return random.Random(self.dice.random())

    # Sign-ups and removals -------------------------------------------------------------------

    def _newcomers(self, dice: random.Random) -> None:
        number = 0
        while not self._stopping.wait(dice.uniform(1.0, 4.0)):
            if self.living and dice.random() < 0.35:
                self._remove(dice.choice(sorted(self.living)))
                continue
            number += 1
            slug = f"{self.mark}new-{number}"
            body = {"slug": slug, "shop_name": slug, "email": f"{slug}@example.org"}
            if self._taken("provision", slug, "POST", "/api/v1/tenants", body):
                self.living.add(slug)

    def _remove(self, slug: str) -> None:
        if self._taken("remove", slug, "DELETE", f"/api/v1/tenants/{slug}", None):
            self.living.discard(slug)
            self.removed.add(slug)

    # Moves -----------------------------------------------------------------------------------

    def _movers(self, dice: random.Random) -> None:
        while not self._stopping.wait(dice.uniform(2.0, 6.0)):
            slug, to = dice.choice(self.sellers), dice.choice(HOSTS)
            self._taken("move", slug, "POST", f"/api/v1/tenants/{slug}/move", {"to": to})

    # Restores --------------------------------------------------------------------------------

    def _restores(self, one: Restored) -> None:
        while not self._stopping.wait(1.0):
            if self._mark(one):
                self._back_to_a_copy(one)

    def _mark(self, one: Restored) -> bool:
        """Write the next mark into the shop; whether it is known what stands there now."""
        one.number += 1
        text = f"{one.slug}-{one.number}"
        try:
            self.lab.mark(one.slug, text)
        except (AssertionError, ValueError, IndexError):
            one.may_be.add(text)  # it may have been written all the same
            return False
        one.may_be = {text}
        return True

    def _back_to_a_copy(self, one: Restored) -> None:
        """Copy the shop, mark it anew, take it back; the mark must then be what the words say."""
        copied = one.may_be.copy()
        copy = self._copied(one.slug)
        if not copy or self._stopping.is_set() or not self._mark(one):
            return
        later = one.may_be.copy()
        one.may_be = copied | later
        path = f"/api/v1/tenants/{one.slug}/restore"
        operation = self._taken("restore", one.slug, "POST", path, {"snapshot": copy})
        # Without an answer it may have been taken all the same: then either mark is right.
        ended = self._ended(operation) if operation else None
        if ended is None:
            return
        one.may_be = _as_told(ended, older=copied, newer=later)
        self.look(one, f"restore ended {ended['state']}: {(ended.get('error') or {})}")

    def look(self, one: Restored, after: str) -> None:
        """Compare the mark with what it may be; remembers a difference."""
        found = self._found(one.slug)
        if found is not None and found not in one.may_be:
            one.faults.append(f"{one.slug}: {found!r}, not {sorted(one.may_be)}; {after}")
            one.may_be = {found}

    def _found(self, slug: str) -> str | None:
        """What the mark says, once the shop can be asked; None when it cannot for a long time."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            with suppress(AssertionError, ValueError, IndexError):
                return self.lab.mark_of(slug)
            time.sleep(_PAUSE)
        return None

    def _copied(self, slug: str) -> str:
        """Ask for a copy; the id of one that was taken after this moment, "" when none came."""
        path = f"/api/v1/tenants/{slug}/snapshots"
        since = datetime.now(UTC)  # the lab is this machine: one clock
        if self._asked("POST", path) is None:
            return ""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not self._stopping.is_set():
            copies = (self._asked("GET", path) or {}).get("results", [])
            for copy in copies:
                if copy["taken_at"] and datetime.fromisoformat(copy["taken_at"]) > since:
                    return str(copy["id"])
            time.sleep(_PAUSE)
        return ""

    # The API ---------------------------------------------------------------------------------

    def _taken(self, verb: str, slug: str, method: str, path: str, body: object) -> str:
        """Ask until there is an answer; the operation's id, "" when it was refused."""
        with self._lock:
            self.asked[verb] += 1
            key = f"chaos-{verb}-{slug}-{self.asked[verb]}"
        answer = self._asked(method, path, body, key)
        operation = str(((answer or {}).get("operation") or {}).get("id", ""))
        with self._lock:
            if operation:
                self.operations[operation] = f"{verb} {slug}"
            else:
                self.not_taken[verb] += 1
        return operation

    def _asked(
        self, method: str, path: str, body: object = None, key: str = ""
    ) -> dict[str, Any] | None:
        """One request, repeated while nobody answers it; None when it is refused."""
        headers = {"Idempotency-Key": key} if key else {}
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError, ValueError):
                answer = self.lab.stack.api.request(method, path, json=body, headers=headers)
                if answer.is_success:
                    found: dict[str, Any] = answer.json()
                    return found
                if answer.status_code < 500 and answer.status_code != 429:
                    return None
            time.sleep(_PAUSE)
        return None

    def _ended(self, operation: str) -> dict[str, Any] | None:
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            found = self._asked("GET", f"/api/v1/operations/{operation}")
            if found and found["state"] in {"succeeded", "failed", "cancelled"}:
                return found
            time.sleep(_PAUSE)
        return None


def _as_told(ended: Mapping[str, Any], *, older: set[str], newer: set[str]) -> set[str]:
    """Which marks the words about a restore that has ended allow: a code tells where it failed half way."""
    code = (ended.get("error") or {}).get("code", "")
    if code == LEFT_UNSURE:
        return older | newer
    return older if ended["state"] == "succeeded" or code == LEFT_OLDER else newer
