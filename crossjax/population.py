"""Many chips at once: `jax.vmap` while they fit in memory, `stream` when they do not; on several devices, by shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from crossjax._checks import is_traced
from crossjax._kinds import door


@door
def stream(f: Callable[[Any], Any], chips: Any, *, batch: int = 1) -> Any:
    """``jax.vmap(f)(chips)``, computed ``batch`` chips at a time: memory for a batch, results for all.

    For matrices of a few hundred rows one chip at a time is also the fastest on a CPU, where a chip's noise then
    stays in the cache. Return what you need of a chip (an error, an accuracy), not the chip.

    Chips whose axis is sharded over devices stay where they are, and so do their results: every device streams its own.
    Inside jit nobody can see that, and one stream goes through all of them.

    Args:
        f: what to do for one chip, traced once.
        chips: keys, specs, times or chips: a pytree whose leaves share their leading axis.
        batch: chips in memory at once, on each device.

    Raises:
        ValueError: if ``batch`` is below 1.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    for leaf in jax.tree.leaves(chips):
        where = None if is_traced(leaf) else getattr(leaf, "sharding", None)
        if isinstance(where, NamedSharding) and len(where.spec) > 0 and where.spec[0] is not None:
            shard = P(where.spec[0])
            return shared(lambda part: streamed(f, part, batch), where.mesh, shard, (shard,))(chips)
    return streamed(f, chips, batch)


def streamed(f: Callable[[Any], Any], chips: Any, batch: int) -> Any:
    """See `stream`, on one device."""
    return lax.map(f, chips) if batch == 1 else lax.map(f, chips, batch_size=batch)


def shared(f: Callable[..., Any], mesh: Any, out: P, specs: tuple[P, ...]) -> Callable[..., Any]:
    """``f`` of the shard that each device of a mesh has, no device waiting for another."""
    return jax.jit(jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False))


def divided(count: int, tree: Any, devices: Sequence[Any] | None = None) -> Mesh | None:
    """A mesh with one axis, "chips", of as many devices as divide ``count`` chips evenly; None: nothing to divide.

    Args:
        count: how many chips.
        tree: what they are made of: arrays that are traced, or somewhere on purpose, keep them together.
        devices: to choose from; None: all.

    Raises:
        ValueError: for no devices.
    """
    if devices is not None and len(devices) == 0:
        raise ValueError("devices must name one device at least, or be None for all")
    given = devices is not None
    if devices is None:
        bound = any(is_traced(a) or getattr(a, "committed", False) for a in jax.tree.leaves(tree))
        devices = [] if bound or _chosen() else jax.local_devices()
    used = max((n for n in range(1, len(devices) + 1) if count % n == 0), default=0)
    return Mesh(np.asarray(devices[:used]), ("chips",)) if used > 1 or given else None


def _chosen() -> bool:
    """Whether somebody said which device to use (`jax.default_device`)."""
    return jax.config.jax_default_device is not None  # type: ignore[attr-defined]
