"""Joins an agent to Celery: made once before the first call can arrive, ended with the worker."""

from collections.abc import Callable
from typing import Any, Protocol

from celery import Celery
from celery.signals import worker_init, worker_ready, worker_shutdown

from workers.agents.common.envelope import Envelope


class Agent(Protocol):
    """What a booted agent does."""

    def answer(self, message: object) -> Envelope:
        """Carry out one call and say how it ended."""
        ...

    def start(self) -> None:
        """Begin to report: calls can arrive from now on."""
        ...

    def stop(self) -> None:
        """Fall silent and end every thread."""
        ...


def serve(app: Celery, task: str, make: Callable[[], Agent]) -> None:
    """Answer the calls of one task name with the agent that `make` gives when the worker begins.

    Nothing is made on import; what make raises (SystemExit) ends the worker.
    """
    booted: list[Agent] = []

    def call(message: object) -> Envelope:
        return booted[0].answer(message)

    def boot(**_: Any) -> None:
        booted.append(make())

    def begin(**_: Any) -> None:
        booted[0].start()

    def end(**_: Any) -> None:
        for agent in booted:
            agent.stop()

    app.task(name=task)(call)
    # Celery would keep these only weakly, and they are nobody else's.
    worker_init.connect(boot, weak=False)
    worker_ready.connect(begin, weak=False)
    worker_shutdown.connect(end, weak=False)
