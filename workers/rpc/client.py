"""Sends calls to agents as Celery messages and waits for their answers, never longer than asked.

Celery's own `.get(timeout=3)` took 19 s with Redis down. Here the waiting is ours: one connection listens
on the channel that Celery's result backend publishes to, and every read of it is bounded. The wait ends at
once when the broker goes away, or when the agent restarts or falls silent.
"""

import json
import math
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from threading import BoundedSemaphore, Lock
from uuid import uuid4

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from runtime.errors import (
    HostBusyError,
    HostError,
    HostUnreachableError,
    OutcomeUnknownError,
    RuntimeCoreError,
)
from runtime.wire import JsonValue, storable
from tenants.core import metrics
from workers.agents.common import envelope, messages
from workers.broker import queues
from workers.broker.transport import PatientAmqp

BROKER_SECONDS = 1.0  # the longest wait for one answer of Redis itself
ACCEPT_SECONDS = 3.0  # an agent whose report is fresh accepts within this
SUSPECT_SECONDS = 10.0  # an agent silent for longer is not called
REPORT_LIVES_SECONDS = 30.0  # agents set their report to expire after this, so its age can be read
BUSY_SECONDS = 3.0  # a thread is not kept for a host that has enough to do
CALLS_IN_FLIGHT = 8  # per agent and process; also the agent's own number of threads
MAX_ANSWER_BYTES = 8 * 1024 * 1024

# Drawn anew by the process that finds it gone: a broker that was emptied has lost the calls it held. It never
# expires in practice; that it could tells how old it is.
GENERATION_KEY = "broker-generation"
_GENERATION_LIVES_MS = 10 * 365 * 24 * 3600 * 1000
# Agents find a broker that was away within this, and have reported to it.
SETTLED_SECONDS = 8.0

_BOOT_ID = re.compile(rb'"boot_id": ?"([^"]{1,64})"')


@dataclass(frozen=True, slots=True)
class AgentCall:
    """One call: the agent's queue, the task's name, the call's name and arguments.

    run_limit: seconds the agent may work on it. fence: (epoch, number), or None where nothing changes.
    """

    queue: str
    name: str
    args: Mapping[str, JsonValue]
    run_limit: float
    fence: tuple[int, int] | None = None

    @property
    def task(self) -> str:
        """Celery's name of the agent's one task."""
        return f"{self.queue.partition('.')[0]}.call"

    def message(self) -> dict[str, JsonValue]:
        """Return what the agent gets."""
        return messages.written(self.name, self.args, self.run_limit, self.fence)


Answers = dict[str, JsonValue | RuntimeCoreError]


class Caller:
    """Calls agents over one broker; safe to share between threads."""

    def __init__(self, broker_url: str) -> None:
        self._app = _publisher(broker_url)
        bounds = {"socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS}
        self._redis = redis.Redis.from_url(
            broker_url, protocol=2, retry=Retry(NoBackoff(), 1), **bounds
        )
        self._ears = redis.ConnectionPool.from_url(
            broker_url, protocol=2, retry=Retry(NoBackoff(), 0), **bounds
        )
        self._slots: dict[str, BoundedSemaphore] = {}
        self._slots_lock = Lock()
        self._trouble: tuple[float, str] = (-math.inf, "")

    def outage_since(self, moment: float) -> str:
        """Why calls made since a moment (time.monotonic()) may have met no broker; "" when it was there.

        Asks it for a write too: a broker that is full answers and takes no calls.
        """
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                # Drawn here too: the first process that asks after it was emptied must hear so.
                pipe.set(GENERATION_KEY, uuid4().hex, nx=True, px=_GENERATION_LIVES_MS)
                pipe.set(f"{GENERATION_KEY}.write", 1, px=1000)
                pipe.pttl(GENERATION_KEY)
                *_, left_ms = pipe.execute()
        except (redis.RedisError, OSError) as error:
            self._note(error)
        else:
            age = (_GENERATION_LIVES_MS - left_ms) / 1000
            if left_ms > 0 and age < SETTLED_SECONDS:
                return f"the broker was emptied {age:.0f} s ago"
        at, words = self._trouble
        return words if at >= moment else ""

    def _note(self, error: Exception) -> None:
        """Remember that the broker itself failed, whatever becomes of the call."""
        self._trouble = (time.monotonic(), f"the broker failed: {str(error)[:200]}")
        metrics.DEPENDENCY_ERRORS.labels("broker", "call").inc()

    def ask(self, call: AgentCall) -> JsonValue:
        """Make the call and return its value.

        Raises what the agent raised, HostUnreachableError when nobody took the call, or
        OutcomeUnknownError when somebody may have: look at the host, or repeat what may be repeated.
        """
        with metrics.call(call.name):
            with self._slot(call.queue):
                seen = self._see(call.queue)
                answers = self._exchange(
                    [call],
                    seconds=call.run_limit + ACCEPT_SECONDS,
                    needed={call.queue},
                    seen={call.queue: seen},
                )
            answer = answers[call.queue]
            if isinstance(answer, RuntimeCoreError):
                raise answer
            return answer

    def ask_all(
        self, calls: Sequence[AgentCall], *, seconds: float, needed: Collection[str]
    ) -> Answers:
        """Make calls to different agents at once; each queue's value, or the error it ended in.

        Waits until every queue in needed has answered, or the seconds are over.
        """
        try:
            with metrics.call(calls[0].name):
                answers = self._exchange(calls, seconds=seconds, needed=needed, seen={})
        except RuntimeCoreError as error:
            return {call.queue: error for call in calls}
        for queue in needed:  # who need not answer was not waited for
            answer = answers.get(queue)
            if isinstance(answer, RuntimeCoreError):
                metrics.failed_call(answer)
        return answers

    def close(self) -> None:
        """Let go of every connection."""
        self._app.close()
        self._redis.close()
        self._ears.disconnect()

    @contextmanager
    def _slot(self, queue: str) -> Iterator[None]:
        with self._slots_lock:
            slot = self._slots.setdefault(queue, BoundedSemaphore(CALLS_IN_FLIGHT))
        if not slot.acquire(timeout=BUSY_SECONDS):
            raise HostBusyError(f"{queue} is busy: {CALLS_IN_FLIGHT} calls are in flight")
        try:
            yield
        finally:
            slot.release()

    def _see(self, queue: str) -> "_Seen":
        """Who answers on the queue just now; HostUnreachableError when nobody was heard lately."""
        key = queues.report_key(queue)
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.getrange(key, 0, 255)
                pipe.pttl(key)
                pipe.set(GENERATION_KEY, uuid4().hex, nx=True, px=_GENERATION_LIVES_MS)
                pipe.get(GENERATION_KEY)
                head, left_ms, _, generation = pipe.execute()
        except (redis.RedisError, OSError) as error:
            self._note(error)
            raise HostUnreachableError(f"the broker does not answer: {error}") from error
        age = REPORT_LIVES_SECONDS - left_ms / 1000
        found = _BOOT_ID.search(head)
        if left_ms < 0 or age > SUSPECT_SECONDS or found is None:
            silent = "has not reported" if left_ms < 0 else f"last reported {age:.0f} s ago"
            raise HostUnreachableError(f"{queue} {silent}")
        return _Seen(boot_id=found.group(1), generation=generation)

    def _exchange(
        self,
        calls: Sequence[AgentCall],
        *,
        seconds: float,
        needed: Collection[str],
        seen: "Mapping[str, _Seen]",
    ) -> Answers:
        deadline = time.monotonic() + seconds
        waiting = {
            f"celery-task-meta-{task_id}": call.queue
            for call in calls
            for task_id in [queues.new_task_id(call.queue)]
        }
        keys = list(waiting)
        with self._ear(keys) as ear:
            for key, call in zip(keys, calls, strict=True):
                self._send(call, key.removeprefix("celery-task-meta-"))
            try:
                wait = _Wait(waiting, set(needed), deadline, seen)
                answers = self._collect(ear, wait)
            except (redis.RedisError, OSError) as error:
                self._note(error)
                raise OutcomeUnknownError(f"the broker went away: {error}") from error
        self._forget(keys)
        return answers

    @contextmanager
    def _ear(self, keys: Sequence[str]) -> Iterator[redis.Connection]:
        """A connection that hears the keys' channels, taken from the pool and given back clean."""
        try:
            ear = self._ears.get_connection()
        except (redis.RedisError, OSError) as error:
            self._note(error)
            raise HostUnreachableError(f"the broker does not answer: {error}") from error
        try:
            try:
                ear.send_command("SUBSCRIBE", *keys)  # type: ignore[no-untyped-call]
                for _ in keys:
                    ear.read_response()
            except (redis.RedisError, OSError) as error:
                self._note(error)
                raise HostUnreachableError(f"the broker does not answer: {error}") from error
            yield ear
        finally:
            # Cheaper than taking care that nothing of this exchange is left unread in it.
            _unsubscribe(ear, len(keys))
            self._ears.release(ear)

    def _send(self, call: AgentCall, task_id: str) -> None:
        try:
            self._app.send_task(
                call.task, args=[call.message()], queue=call.queue, task_id=task_id, retry=False
            )
        except (OperationalError, redis.RedisError, OSError) as error:
            self._note(error)
            raise HostUnreachableError(f"the broker does not take calls: {error}") from error

    def _collect(self, ear: redis.Connection, wait: "_Wait") -> Answers:
        answers: Answers = {}
        look_at = time.monotonic() + ACCEPT_SECONDS
        while wait.needed and (now := time.monotonic()) < wait.deadline:
            if ear.can_read(timeout=max(0.001, min(look_at, wait.deadline) - now)):
                _, channel, data = ear.read_response()
                queue = wait.queues.pop(channel.decode(), None)
                if queue is not None:
                    answers[queue] = _opened(data)
                    wait.needed.discard(queue)
            elif time.monotonic() >= look_at:
                look_at = time.monotonic() + BROKER_SECONDS
                self._look_around(wait.seen)
        for queue in wait.queues.values():
            answers[queue] = OutcomeUnknownError(f"{queue} took a call and did not answer in time")
        return answers

    def _look_around(self, seen: "Mapping[str, _Seen]") -> None:
        """End a long wait early when nobody is left who could answer."""
        for queue, before in seen.items():
            try:
                now = self._see(queue)
            except HostUnreachableError as error:
                raise OutcomeUnknownError(f"{error.message} and holds a call") from error
            if now.boot_id != before.boot_id:
                raise OutcomeUnknownError(f"the agent of {queue} started anew during the call")
            if now.generation != before.generation:
                emptied = OutcomeUnknownError(f"the broker was emptied while {queue} had a call")
                self._note(emptied)
                raise emptied

    def _forget(self, keys: Sequence[str]) -> None:
        try:
            self._redis.delete(*keys)
        except (redis.RedisError, OSError):
            return  # results expire by themselves


@dataclass(frozen=True, slots=True)
class _Seen:
    """Who would answer a call, and on which filling of the broker."""

    boot_id: bytes
    generation: bytes


@dataclass(slots=True)
class _Wait:
    """What an exchange still waits for: queues by channel, those it must have, until when."""

    queues: dict[str, str]
    needed: set[str]
    deadline: float
    seen: Mapping[str, _Seen]


def _publisher(broker_url: str) -> Celery:
    # An app of its own: the worker's own blocking reads need longer time-outs than a publish may take.
    app = Celery("stoa-calls", amqp=PatientAmqp, broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        broker_pool_limit=32,
        broker_connection_timeout=BROKER_SECONDS,
        broker_transport_options={
            "priority_steps": [0],
            "socket_timeout": BROKER_SECONDS,
            "socket_connect_timeout": BROKER_SECONDS,
            "max_retries": 0,
            "connect_retries_timeout": BROKER_SECONDS,
        },
    )
    return app


def _unsubscribe(ear: redis.Connection, count: int) -> None:
    try:
        ear.send_command("UNSUBSCRIBE")  # type: ignore[no-untyped-call]
        kinds = 0
        while kinds < count:
            kinds += ear.read_response()[0] == b"unsubscribe"
    except (redis.RedisError, OSError):
        ear.disconnect()  # type: ignore[no-untyped-call]


def _opened(data: bytes) -> JsonValue | RuntimeCoreError:
    """Return the value in an agent's answer, or the error it stands for. It is input: nothing is believed."""
    if len(data) > MAX_ANSWER_BYTES:
        return HostError(
            f"the agent answered {len(data)} bytes; at most {MAX_ANSWER_BYTES} are read"
        )
    try:
        result = storable(json.loads(data)["result"])
    except (ValueError, TypeError, KeyError, RecursionError):
        result = None
    return envelope.opened(result)


@lru_cache(maxsize=4)
def caller(broker_url: str) -> Caller:
    """Return this process's caller for a broker."""
    return Caller(broker_url)
