"""Many chips at once: `jax.vmap` while they fit in memory, `stream` when they do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jax import lax

from crossjax._kinds import door


@door
def stream(f: Callable[[Any], Any], chips: Any, *, batch: int = 1) -> Any:
    """``jax.vmap(f)(chips)``, computed ``batch`` chips at a time: memory for a batch, results for all.

    For matrices of a few hundred rows one chip at a time is also the fastest on a CPU, where a chip's noise then
    stays in the cache. Return what you need of a chip (an error, an accuracy), not the chip.

    Args:
        f: what to do for one chip, traced once.
        chips: keys, specs, times or chips: a pytree whose leaves share their leading axis.
        batch: chips in memory at once.

    Raises:
        ValueError: if ``batch`` is below 1.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    return lax.map(f, chips) if batch == 1 else lax.map(f, chips, batch_size=batch)
