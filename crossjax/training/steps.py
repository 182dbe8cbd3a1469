"""What one batch does to a network: a gradient step of an Optax optimiser, or a rule of your own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from crossjax._random import named
from crossjax.nn.convert import set_key
from crossjax.training.losses import Loss, cross_entropy

Prepare = Callable[[Array, Array], Array]


class Step(Protocol):
    """A rule of learning. Both are traced: what they decide by is in their arguments."""

    def init(self, model: Any) -> Any:
        """What the rule keeps from batch to batch beside the network: a pytree of arrays and keys."""
        ...

    def update(self, key: Array, model: Any, state: Any, x: Array, y: Array) -> tuple[Any, Array, Array]:
        """One batch: changes the network in place, and returns (state, loss, accuracy).

        Args:
            key: the noise of this batch: `crossjax.nn.set_key` gives it to the layers on tiles.
            model: the network, in training mode, a copy of this call's own; any of its variables may change, chips too.
            state: what the last call left, at first `init`'s.
            x, y: inputs (batch, …) and labels (batch,).
        """
        ...


@dataclasses.dataclass(frozen=True)
class GradientStep:
    """A `Step` down the gradient of the loss.

    Attributes:
        optimiser: any Optax optimiser.
        loss: (model, x, y) → (loss, logits).
        remat: recompute the forward pass in the backward pass: less memory.
    """

    optimiser: optax.GradientTransformation
    loss: Loss = cross_entropy
    remat: bool = False

    def init(self, model: Any) -> Any:
        """The optimiser's state."""
        return self.optimiser.init(nnx.state(model, nnx.Param))

    def update(self, key: Array, model: Any, state: Any, x: Array, y: Array) -> tuple[Any, Array, Array]:
        """One update of the parameters; batch norms learn their statistics."""
        graph, params, rest = nnx.split(model, nnx.Param, ...)
        step = make_step(graph, self.optimiser, self.loss, remat=self.remat)
        params, rest, state, value, right = step(params, rest, state, key, x, y)
        nnx.update(model, params, rest)
        return state, value, right


def make_step(graph: Any, optimiser: optax.GradientTransformation, loss: Loss, *, remat: bool = False) -> Callable:
    """The training step: (params, rest, optimiser state, key, x, y) → (params, rest, optimiser state, loss, accuracy).

    ``graph, params, rest = nnx.split(model, nnx.Param, ...)``; pure, to be jitted. ``key`` is the noise of this batch.
    """

    def loss_and_rest(params: Any, rest: Any, key: Array, x: Array, y: Array) -> tuple[Array, Any]:
        model = nnx.merge(graph, params, rest, copy=True)
        model.train()
        set_key(model, key)
        value, logits = loss(model, x, y)
        return value, (nnx.split(model, nnx.Param, ...)[2], jnp.mean(jnp.argmax(logits, axis=-1) == y))

    loss_and_rest = jax.checkpoint(loss_and_rest) if remat else loss_and_rest

    def step(params: Any, rest: Any, state: Any, key: Array, x: Array, y: Array) -> tuple[Any, ...]:
        (value, (rest, right)), gradient = jax.value_and_grad(loss_and_rest, has_aux=True)(params, rest, key, x, y)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), rest, state, value, right

    return step


def on_batch(graph: Any, step: Step, prepare: Prepare | None) -> Callable[..., tuple[Any, ...]]:
    """A step as a pure function: (params, rest, state, key, x, y) → (params, rest, state, loss, accuracy)."""

    def run(params: Any, rest: Any, state: Any, key: Array, x: Array, y: Array) -> tuple[Any, ...]:
        x = x if prepare is None else prepare(named(key, "prepare"), x)
        model = nnx.merge(graph, params, rest, copy=True)
        model.train()
        state, value, right = step.update(named(key, "noise"), model, state, x, y)
        return *nnx.split(model, nnx.Param, ...)[1:], state, value, right

    return run
