"""One byte for an amount: 254 steps of 6.5 % from a tenth up to a million, so a week of hours stays small.

Rounding is to the nearest step, at most 3.3 % off for one amount and next to nothing for a sum of many.
"""

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]

ABSENT = 255  # nothing was measured; 0 stands for nothing was used
_LOWEST = 0.1
_STEPS = 254
_GROWTH = np.log(1e7) / (_STEPS - 1)

AMOUNTS = np.zeros(256, np.float32)
AMOUNTS[1:255] = _LOWEST * np.exp(_GROWTH * np.arange(_STEPS))


def encode(amounts: npt.NDArray[np.floating]) -> U8:
    """Amounts as codes; what is not a number becomes ABSENT, what is too large the largest code."""
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = 1 + np.rint(np.log(amounts / _LOWEST) / _GROWTH)
    codes = np.clip(np.nan_to_num(steps, nan=0.0, neginf=0.0, posinf=_STEPS), 0, _STEPS)
    return np.where(np.isnan(amounts), ABSENT, codes).astype(np.uint8)
