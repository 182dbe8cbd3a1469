"""Training language models: windows of running text in order, the state carried from each to the next."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array, lax

from crossjax.nn.convert import set_key


def in_order(key: Array, epoch: int, count: int) -> np.ndarray:
    """The examples of an epoch one after the other: an order for `fit`, for rows of `crossjax.text.windows`."""
    return np.arange(count)


@dataclasses.dataclass(frozen=True)
class CarriedState:
    """A `Step` of truncated backpropagation through time: the state is carried on, its gradient is not.

    The model has ``run(x, state) → (logits, state)`` and ``start(batch)``, as `crossjax.nn.language.LanguageModel`.

    Attributes:
        optimiser: any Optax optimiser; the loss it descends is the mean cross-entropy of a token times ``scale``.
        batch: streams that run side by side.
        scale: Zaremba et al. (2014) add the losses of a window up: its length.
    """

    optimiser: optax.GradientTransformation
    batch: int
    scale: float = 1.0

    def init(self, model: Any) -> Any:
        """The optimiser's state and the model's."""
        return self.optimiser.init(nnx.state(model, nnx.Param)), model.start(self.batch)

    def update(self, key: Array, model: Any, state: Any, x: Array, y: Array) -> tuple[Any, Array, Array]:
        """One window (batch, time) of every stream; the accuracy is that of the next token."""
        (optimiser, carried), (graph, params, rest) = state, nnx.split(model, nnx.Param, ...)

        def loss(params: Any) -> tuple[Array, Any]:
            net = nnx.merge(graph, params, rest, copy=True)
            net.train()
            set_key(net, key)
            logits, after = net.run(x, lax.stop_gradient(carried))
            logits, labels = logits.reshape(-1, logits.shape[-1]), y.reshape(-1)
            value = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
            return self.scale * value, (value, after, _right(logits, labels))

        (_, (value, after, right)), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, optimiser = self.optimiser.update(gradient, optimiser, params)
        nnx.update(model, optax.apply_updates(params, updates))
        return (optimiser, after), value, right


def _right(logits: Array, labels: Array) -> Array:
    """Fraction of tokens (n,) whose logit is the largest: by the maximum that the loss has found anyway."""
    return jnp.mean(jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0] >= jnp.max(logits, axis=1))


def zaremba(
    steps_per_epoch: int, *, rate: float = 1.0, whole: int = 4, clip: float = 5.0
) -> optax.GradientTransformation:
    """SGD at a rate that halves after every epoch from the ``whole``-th on, gradients clipped to a norm.

    The small model of Zaremba et al., arXiv:1409.2329 (2014): rate 1, halved after 4 epochs, norm 5, 13 epochs.
    """

    def schedule(step: Any) -> Any:
        return rate * 0.5 ** jnp.maximum(step // steps_per_epoch + 1 - whole, 0)

    return optax.chain(optax.clip_by_global_norm(clip), optax.sgd(schedule))
