"""Shape share = shape decisions / (shape + texture decisions), with the interval of a ratio over episodes."""

from __future__ import annotations

import numpy as np


def shape_share(shape: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """Return one number an episode, [e], whose mean is the share and whose spread is its uncertainty.

    The share R = ΣS / Σ(S + T) is a ratio of sums; to first order its error is the mean of
    (S_e − R (S_e + T_e)) / mean(S + T) over episodes. R is added to those, so that means, 95 % intervals and paired
    differences of shares are those of any other number an episode. Episodes weigh as they have decisions.

    Args:
        shape: share of queries decided by shape in each episode, [e].
        texture: by texture, [e].

    Returns:
        NaN everywhere where no query was decided by either.
    """
    either = shape + texture
    if not either.sum() > 0:
        return np.full(len(shape), np.nan)
    share = shape.sum() / either.sum()
    return share + (shape - share * either) / either.mean()
