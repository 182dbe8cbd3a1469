"""Training a network, on tiles or not: one jitted step, a progress bar, checkpoints, and a stop at the first NaN."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Generic

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from crossjax._checks import ensure_range, shown
from crossjax._kinds import door
from crossjax._random import named, numbered
from crossjax.nn.convert import Model, set_key
from crossjax.training.checkpoints import Checkpoints
from crossjax.training.fingerprint import fingerprint

Loss = Callable[[Any, Array, Array], tuple[Array, Array]]
LOOK = 10  # steps between two looks at the loss: each waits for the device


@dataclasses.dataclass(frozen=True)
class Trained(Generic[Model]):
    """A trained network, and the loss and accuracy of every step (steps,)."""

    model: Model
    loss: np.ndarray
    accuracy: np.ndarray


def cross_entropy(model: Any, x: Array, y: Array) -> tuple[Array, Array]:
    """(mean cross-entropy, logits) for integer labels."""
    logits = model(x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), logits


@door
def distillation(teacher: nnx.Module, temperature: float = 4.0, weight: float = 0.9) -> Loss:
    """A loss that also follows the digital network: (1 − w) · cross-entropy + w T² · KL(teacher ‖ student).

    Hinton et al., arXiv 1503.02531 (2015).

    Args:
        teacher: the digital network; used in evaluation mode.
        temperature: T of both softmax functions.
        weight: w in [0, 1].

    Raises:
        ValueError: for a weight outside [0, 1] or a temperature that is not positive.
    """
    ensure_range("weight of distillation", weight, low=0, high=1)
    ensure_range("temperature of distillation", temperature, low=0, strict=True)
    graph, state = nnx.split(nnx.view(teacher))

    def loss(model: Any, x: Array, y: Array) -> tuple[Array, Array]:
        hard, logits = cross_entropy(model, x, y)
        wise = nnx.merge(graph, state)
        wise.eval()
        target = jax.nn.softmax(jax.lax.stop_gradient(wise(x)) / temperature)  # type: ignore[operator]
        soft = optax.kl_divergence(jax.nn.log_softmax(logits / temperature), target).mean()
        return (1 - weight) * hard + weight * temperature**2 * soft, logits

    return loss


def make_step(graph: Any, optimiser: optax.GradientTransformation, loss: Loss, *, remat: bool = False) -> Callable:
    """The training step: (params, rest, optimiser state, key, x, y) → (params, rest, optimiser state, loss, accuracy).

    ``graph, params, rest = nnx.split(model, nnx.Param, ...)``; pure, to be jitted. ``key`` is the noise of this batch.
    """

    def lossy(params: Any, rest: Any, key: Array, x: Array, y: Array) -> tuple[Array, Any]:
        model = nnx.merge(graph, params, rest, copy=True)
        model.train()
        set_key(model, key)
        value, logits = loss(model, x, y)
        return value, (nnx.split(model, nnx.Param, ...)[2], jnp.mean(jnp.argmax(logits, axis=-1) == y))

    lossy = jax.checkpoint(lossy) if remat else lossy

    def step(params: Any, rest: Any, state: Any, key: Array, x: Array, y: Array) -> tuple[Any, ...]:
        (value, (rest, right)), gradient = jax.value_and_grad(lossy, has_aux=True)(params, rest, key, x, y)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), rest, state, value, right

    return step


@door
def fit(
    key: Array,
    model: Model,
    data: tuple[np.ndarray, np.ndarray],
    optimiser: optax.GradientTransformation,
    *,
    steps: int,
    batch: int = 128,
    prepare: Callable[[Array, Array], Array] | None = None,
    loss: Loss = cross_entropy,
    remat: bool = False,
    checkpoints: str | Path | None = None,
    every: int = 500,
    progress: bool = True,
    label: str = "training",
) -> Trained[Model]:
    """Train a copy of a network. The same key gives the same result, interrupted and resumed or not.

    Noise is fresh for every batch. Batches go through the data in a new random order every epoch; examples that do
    not fill the last batch are left out of that epoch.

    Args:
        key: randomness of order, augmentation and noise.
        model: a network, on tiles or digital.
        data: examples (n, …) and integer labels (n,).
        optimiser: any Optax optimiser; `clip_weights` and `ranges` go last in its chain.
        steps: batches to train.
        batch: examples in each.
        prepare: from (key, examples of a batch) to inputs, inside jit: normalisation and augmentation.
        loss: (model, x, y) → (loss, logits).
        remat: recompute the forward pass in the backward pass: less memory.
        checkpoints: a folder to save to and resume from; None for neither.
        every: steps between two checkpoints.
        progress: show a bar with loss, accuracy and images/s.
        label: its text.

    Raises:
        ValueError: for data that do not fit, a checkpoint that is damaged or of a run with other inputs (another key,
            network, tile, optimiser, …; says which), or one with more steps than asked for.
        FloatingPointError: when the loss is NaN or infinite; says at which step.
    """
    x, y = (np.asarray(a) for a in data)
    if x.ndim < 1 or y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"data must be examples (n, …) and whole-number labels (n,), got {shown(x)} and {shown(y)}")
    if len(x) != len(y):
        raise ValueError(f"data must be examples and labels of one length, got {len(x)} and {len(y)}")
    if not 0 < batch <= len(x):
        raise ValueError(f"batch must be between 1 and the {len(x)} examples, got {batch}")
    if steps < 1 or every < 1:
        raise ValueError(f"steps and every must be at least 1, got {steps} and {every}")
    if y.min() < 0:
        raise ValueError(f"labels must be ≥ 0, got {y.min()}")
    loss = _bounded(loss, int(y.max()))
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    params, rest = jax.tree.map(jnp.copy, (params, rest))  # the step takes its arguments' memory
    pure = make_step(graph, optimiser, loss, remat=remat)

    def step(params: Any, rest: Any, state: Any, n: Array, x: Array, y: Array) -> tuple[Any, ...]:
        k = numbered(named(key, "steps"), n)
        x = x if prepare is None else prepare(named(k, "prepare"), x)
        return pure(params, rest, state, named(k, "noise"), x, y)

    jitted = jax.jit(step, donate_argnums=(0, 1, 2))
    carry = (params, rest, optimiser.init(params))
    records = jnp.full((steps, 2), jnp.nan)
    begin = 0
    store = nullcontext()
    if checkpoints is not None:
        inputs = fingerprint(key, graph, params, rest, (x, y), batch, optimiser, loss, prepare)
        store = Checkpoints(checkpoints, inputs)
    with store as store:
        if store is not None and store.latest() is not None:
            done = store.latest() or 0
            if done > steps:
                raise ValueError(
                    f"{checkpoints} holds {done} steps, more than the {steps} asked for: use another folder"
                )
            carry, past = store.restore((carry, jnp.zeros((done, 2))))
            begin, records = done, records.at[:done].set(past)
        seen, last, bar = begin, time.perf_counter(), _Bar(label, steps, begin, shown=progress)
        pending: list[tuple[Array, Array]] = []
        order, epoch = np.empty(0, int), -1
        with bar:
            for n in range(begin, steps):
                now, at = divmod(n, len(x) // batch)
                if now != epoch:
                    epoch, order = now, _order(key, now, len(x))
                which = order[at * batch : (at + 1) * batch]
                *carry, value, right = jitted(*carry, jnp.asarray(n), x[which], y[which])
                pending.append((value, right))
                stop = n + 1 == steps or (store is not None and (n + 1) % every == 0)
                if len(pending) == LOOK or stop:
                    found = np.asarray(jax.device_get(pending), np.float32).reshape(-1, 2)
                    bad = np.flatnonzero(~np.isfinite(found[:, 0]))
                    if bad.size:
                        raise FloatingPointError(
                            f"the loss is {found[bad[0], 0]} at step {n + 1 - len(found) + int(bad[0])}: lower the "
                            "learning rate or the noise, or look for NaN in the data"
                        )
                    records = records.at[n + 1 - len(found) : n + 1].set(found)
                    clock = time.perf_counter()
                    bar.show(n + 1, float(found[-1, 0]), float(found[-1, 1]), batch * (n + 1 - seen) / (clock - last))
                    pending, seen, last = [], n + 1, clock
                    if store is not None and stop:
                        store.save(n + 1, (tuple(carry), records[: n + 1]))
    log = np.asarray(records)
    return Trained(nnx.merge(graph, carry[0], carry[1]), log[:, 0], log[:, 1])


def _bounded(loss: Loss, highest: int) -> Loss:
    """The loss, refused where labels go beyond the outputs: JAX would take the last one for them."""

    def bounded(model: Any, x: Array, y: Array) -> tuple[Array, Array]:
        value, logits = loss(model, x, y)
        if highest >= logits.shape[-1]:
            raise ValueError(f"labels go up to {highest}, and the network has {logits.shape[-1]} outputs, from 0 on")
        return value, logits

    return bounded


def _order(key: Array, epoch: int, count: int) -> np.ndarray:
    return np.asarray(jax.random.permutation(numbered(named(key, "order"), epoch), count))


class _Bar:
    """The progress bar of `fit`."""

    def __init__(self, label: str, steps: int, begin: int, *, shown: bool) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.3f}  "
                       "{task.fields[speed]:.0f} images/s"),
            TimeRemainingColumn(),
        )  # fmt: skip
        console = Console()
        seen = console.is_terminal or console.is_jupyter  # elsewhere a bar leaves nothing but empty lines
        self.progress = Progress(*columns, console=console, transient=True, disable=not (shown and seen))
        self.task = self.progress.add_task(
            label, total=steps, completed=begin, loss=float("nan"), accuracy=float("nan"), speed=0.0
        )

    def __enter__(self) -> None:
        self.progress.start()

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def show(self, done: int, loss: float, accuracy: float, speed: float) -> None:
        self.progress.update(self.task, completed=done, loss=loss, accuracy=accuracy, speed=speed)
