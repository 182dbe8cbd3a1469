"""Training a network, on tiles or not: a loop around one jitted step, its parts each an argument.

The order of the data, the step, the checkpoints, the progress bar and the guard know nothing of one another.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Generic

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from crossjax._checks import shown
from crossjax._kinds import door
from crossjax._random import named, numbered
from crossjax.nn.convert import Model
from crossjax.training.checkpoints import Checkpoints
from crossjax.training.fingerprint import fingerprint
from crossjax.training.losses import Loss, bounded, cross_entropy
from crossjax.training.order import Order, batches, shuffled
from crossjax.training.progress import Bar
from crossjax.training.steps import GradientStep, Prepare, Step, on_batch

LOOK = 10  # steps between two looks at the loss: each waits for the device


@dataclasses.dataclass(frozen=True)
class Trained(Generic[Model]):
    """A trained network, and the loss and accuracy of every step (steps,)."""

    model: Model
    loss: np.ndarray
    accuracy: np.ndarray


def stop_at_nan(first: int, losses: np.ndarray) -> None:
    """A guard: the losses of the steps from ``first`` on are numbers.

    Raises:
        FloatingPointError: if one is NaN or infinite; says at which step.
    """
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        raise FloatingPointError(
            f"the loss is {losses[bad[0]]} at step {first + int(bad[0])}: lower the learning rate or the noise, or "
            "look for NaN in the data"
        )


@door
def fit(
    key: Array,
    model: Model,
    data: tuple[np.ndarray, np.ndarray],
    optimiser: optax.GradientTransformation | None = None,
    *,
    steps: int,
    batch: int = 128,
    prepare: Prepare | None = None,
    loss: Loss | None = None,
    remat: bool = False,
    step: Step | None = None,
    order: Order = shuffled,
    guard: Callable[[int, np.ndarray], None] = stop_at_nan,
    checkpoints: str | Path | Callable[[Mapping[str, str]], Checkpoints] | None = None,
    every: int = 500,
    progress: bool | Callable[[str, int, int], Bar] = True,
    label: str = "training",
) -> Trained[Model]:
    """Train a copy of a network. The same key gives the same result, interrupted and resumed or not.

    Noise is fresh for every batch. Batches go through the data in a new random order every epoch; examples that do
    not fill the last batch are left out of that epoch.

    Args:
        key: randomness of order, augmentation and noise.
        model: a network, on tiles or digital.
        data: examples (n, …) and integer labels (n,), or (n, …) where every example has several, as text has.
        optimiser: any Optax optimiser; `clip_weights` and `ranges` go last in its chain.
        steps: batches to train.
        batch: examples in each.
        prepare: from (key, examples of a batch) to inputs, inside jit: normalisation and augmentation.
        loss: (model, x, y) → (loss, logits); cross-entropy if none is given.
        remat: recompute the forward pass in the backward pass: less memory.
        step: what a batch does (`Step`), instead of ``optimiser``, ``loss`` and ``remat``, which make a `GradientStep`.
        order: (key, epoch, n) → indices of the examples in the order of that epoch, at least a whole number of batches.
        guard: called with the number of a step and the losses (k,) from there on; raises to stop.
        checkpoints: a folder to save to and resume from, or what makes `Checkpoints` of the inputs; None for neither.
        every: steps between two checkpoints.
        progress: show a bar with loss, accuracy and images/s, or what makes a `Bar` of (label, steps, steps done).
        label: its text.

    Raises:
        ValueError: for data that do not fit, both or neither of optimiser and step, a checkpoint that is damaged or of
            a run with other inputs (another key, network, tile, optimiser, …; says which), or one with more steps than
            asked for.
        FloatingPointError: when the loss is NaN or infinite; says at which step.
    """
    x, y = _checked(data, batch, steps, every)
    rule = _rule(step, optimiser, loss, remat, int(y.max()))
    graph, *parts = nnx.split(model, nnx.Param, ...)
    carry = jax.tree.map(jnp.copy, (*parts, rule.init(model)))  # the step takes its arguments' memory
    pure = on_batch(graph, rule, prepare)

    def numbered_step(params: Any, rest: Any, state: Any, n: Array, x: Array, y: Array) -> tuple[Any, ...]:
        return pure(params, rest, state, numbered(named(key, "steps"), n), x, y)

    jitted = jax.jit(numbered_step, donate_argnums=(0, 1, 2))
    pick = batches(key, order, len(x), batch)
    store: Any = nullcontext()
    if checkpoints is not None:
        inputs = fingerprint(key, graph, carry, (x, y), batch, rule, prepare, order)
        store = checkpoints(inputs) if callable(checkpoints) else Checkpoints(checkpoints, inputs)
    make_bar = progress if callable(progress) else partial(Bar, shown=progress)
    with store as store:
        begin, carry, records = _resumed(store, carry, steps)
        seen, last, pending = begin, time.perf_counter(), []
        with make_bar(label, steps, begin) as bar:
            for n in range(begin, steps):
                which = pick(n)
                *carry, value, right = jitted(*carry, jnp.asarray(n), x[which], y[which])
                pending.append((value, right))
                stop = n + 1 == steps or (store is not None and (n + 1) % every == 0)
                if len(pending) == LOOK or stop:
                    found = np.asarray(jax.device_get(pending), np.float32).reshape(-1, 2)
                    guard(seen, found[:, 0])
                    records[seen : n + 1] = found
                    clock = time.perf_counter()
                    bar.show(n + 1, float(found[-1, 0]), float(found[-1, 1]), batch * len(found) / (clock - last))
                    pending, seen, last = [], n + 1, clock
                    if store is not None and stop:
                        store.save(n + 1, (tuple(carry), records[: n + 1]))
    return Trained(nnx.merge(graph, carry[0], carry[1]), records[:, 0], records[:, 1])


def _checked(data: tuple[np.ndarray, np.ndarray], batch: int, steps: int, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Examples and labels that a run can be made of."""
    x, y = (np.asarray(a) for a in data)
    if x.ndim < 1 or y.ndim < 1 or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"data must be examples (n, …) and whole-number labels (n, …), got {shown(x)} and {shown(y)}")
    if len(x) != len(y):
        raise ValueError(f"data must be examples and labels of one length, got {len(x)} and {len(y)}")
    if not 0 < batch <= len(x):
        raise ValueError(f"batch must be between 1 and the {len(x)} examples, got {batch}")
    if steps < 1 or every < 1:
        raise ValueError(f"steps and every must be at least 1, got {steps} and {every}")
    if y.min() < 0:
        raise ValueError(f"labels must be ≥ 0, got {y.min()}")
    return x, y


def _rule(step: Step | None, optimiser: Any, loss: Loss | None, remat: bool, highest: int) -> Step:
    """The step that was given, or one of the optimiser down the loss."""
    if (step is None) == (optimiser is None):
        raise ValueError(f"fit takes an optimiser or a step, got {'neither' if step is None else 'both'}")
    if step is None:
        return GradientStep(optimiser, bounded(loss or cross_entropy, highest), remat)
    if loss is not None or remat:
        raise ValueError("loss and remat are of the gradient step: a step of your own has its own")
    return step


def _resumed(store: Any, carry: Any, steps: int) -> tuple[int, Any, np.ndarray]:
    """The steps that are done, what they left, and the (loss, accuracy) of every step, NaN where it is to come."""
    records = np.full((steps, 2), np.nan, np.float32)
    if store is None or not (done := store.latest()):
        return 0, carry, records
    if done > steps:
        raise ValueError(f"{store.folder} holds {done} steps, more than the {steps} asked for: use another folder")
    carry, records[:done] = store.restore((carry, np.zeros((done, 2), np.float32)))
    return done, carry, records
