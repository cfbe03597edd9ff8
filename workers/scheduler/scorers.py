"""How good hosts are for an instance, from 0 (worst) to 1 (best): pure formulas, weighed in SCORERS."""

from collections.abc import Callable

import numpy as np

from workers.scheduler.host_evaluation import HostEvaluation
from workers.scheduler.types import F64

Scorer = Callable[[HostEvaluation], F64]


def fullness(judged: HostEvaluation) -> F64:
    """Best fit: the share of the host's scarcest resource in use once the instance is there."""
    scarcest: F64 = np.clip(judged.fullness.max(axis=1), 0.0, 1.0)
    return scarcest


def alignment(judged: HostEvaluation) -> F64:
    """Tetris: the cosine between what the instance wants and what the host has free, per resource.

    An instance that wants memory goes where memory is left over, so that no resource is stranded.
    """
    limits = np.where(judged.limits > 0, judged.limits, 1.0)
    free = np.where(judged.is_counted, np.clip(1.0 - judged.fullness, 0.0, 1.0), 0.0)
    wanted = np.where(judged.is_counted, judged.wanted / limits, 0.0)
    dot = (free * wanted).sum(axis=1)
    sizes = np.sqrt(np.square(free).sum(axis=1) * np.square(wanted).sum(axis=1))
    cosine: F64 = np.divide(dot, sizes, where=sizes > 0, out=np.zeros(len(dot)))
    return cosine


def calm(judged: HostEvaluation) -> F64:
    """Less, the more starts are in flight on the host: a storm is spread before it is refused."""
    share: F64 = 1.0 - judged.pool.starting / max(judged.rules.starts_per_host, 1)
    return np.clip(share, 0.0, 1.0)


# Packing decides; the others turn the scale between hosts that are about as full.
SCORERS: tuple[tuple[str, Scorer, float], ...] = (
    ("full", fullness, 1.0),
    ("aligned", alignment, 0.1),
    ("calm", calm, 0.2),
)
