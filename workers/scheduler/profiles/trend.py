"""Where an amount is going: a straight line through what it was day by day."""

from collections.abc import Sequence

import numpy as np

# Fewer days are no trend; older ones say little about the next.
LEAST_DAYS = 5
MOST_DAYS = 60


def factor(days: Sequence[tuple[int, float]], ahead: int) -> float | None:
    """Return how many times the last amount it will be so many days after the last; None without a trend.

    days: (number of the day, amount), in order. Never below 0.
    """
    recent = (
        [(day, amount) for day, amount in days if day > days[-1][0] - MOST_DAYS] if days else []
    )
    if not all(np.isfinite(amount) for _, amount in recent):
        return None  # a line through what is no number leads nowhere
    if len(recent) < LEAST_DAYS or recent[-1][1] <= 0:
        return None
    numbers = np.array([day for day, _ in recent], np.float64)
    amounts = np.array([amount for _, amount in recent], np.float64)
    slope = float(np.polyfit(numbers - numbers[-1], amounts, 1)[0])
    return max(0.0, 1.0 + slope * ahead / float(amounts[-1]))
