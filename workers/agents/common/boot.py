"""What every agent does before it takes its first call: be the only one, and begin with an empty queue."""

import fcntl
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import redis

from runtime.system.files import open_lock
from settings import inner
from settings.setting import SettingError
from workers.broker.queues import unacked_keys

log = logging.getLogger(__name__)

_LOCK_SECONDS = 30.0  # an agent that is being restarted may take so long to end


def broker_url(environ: Mapping[str, str]) -> str:
    """Return where the broker is; SystemExit says what to set when it is not set."""
    try:
        return inner.BROKER_URL.of(environ)
    except SettingError as error:
        raise SystemExit(str(error)) from error


def new_boot_id() -> str:
    """Names this run of the agent: control sees from it that calls in flight were lost."""
    return uuid4().hex


def lock_state(state_dir: Path, *, seconds: float = _LOCK_SECONDS) -> int:
    """Become the one agent of a state directory; the lock lasts as long as the returned descriptor.

    Waits for an agent that is just ending; SystemExit when another one stays.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = state_dir / "agent.lock"
    descriptor = open_lock(path)
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.2)
                continue
            os.close(descriptor)
            raise SystemExit(
                f"another agent holds {path}; stop it, or give this one a state directory of its own"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return descriptor


def connect(url: str) -> "redis.Redis":
    """Return a connection for the agent's own few commands, with short time-outs and no extra rights
    needed.
    """
    return redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3, driver_info=None)


def clear_queue(url: str, queue: str, *, pause: float = 1.0) -> None:
    """Forget calls that were meant for an earlier run. Waits for the broker as long as it takes."""
    said = ""
    while True:
        try:
            with connect(url) as client:
                gone = client.delete(queue, *unacked_keys(queue))
        except redis.RedisError as error:
            if str(error) != said:
                said = str(error)
                log.warning("waiting for the broker: %s", said)
            time.sleep(pause)
        else:
            log.info("broker reached; %d old keys of %s cleared", gone, queue)
            return
