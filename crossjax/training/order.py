"""Which examples a batch has."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax import Array

from crossjax._random import named, numbered

Order = Callable[[Array, int, int], np.ndarray]


def shuffled(key: Array, epoch: int, count: int) -> np.ndarray:
    """The examples of an epoch in a new random order: indices (count,)."""
    return np.asarray(jax.random.permutation(numbered(named(key, "order"), epoch), count))


def batches(key: Array, order: Order, count: int, batch: int) -> Callable[[int], np.ndarray]:
    """From the number of a step to the indices (batch,) of its examples, ``count // batch`` steps an epoch."""
    epoch = functools.lru_cache(1)(lambda k: order(key, k, count))

    def pick(n: int) -> np.ndarray:
        k, at = divmod(n, count // batch)
        return epoch(k)[at * batch : (at + 1) * batch]

    return pick
