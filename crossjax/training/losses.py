"""What training makes small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax
from flax import nnx
from jax import Array

from crossjax._checks import ensure_range
from crossjax._kinds import door

Loss = Callable[[Any, Array, Array], tuple[Array, Array]]


def cross_entropy(model: Any, x: Array, y: Array) -> tuple[Array, Array]:
    """(mean cross-entropy, logits) for integer labels."""
    logits = model(x)
    _check_shape(logits, y)
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
        teacher_now = nnx.merge(graph, state)
        teacher_now.eval()
        target = jax.nn.softmax(jax.lax.stop_gradient(teacher_now(x)) / temperature)  # type: ignore[operator]
        soft = optax.kl_divergence(jax.nn.log_softmax(logits / temperature), target).mean()
        return (1 - weight) * hard + weight * temperature**2 * soft, logits

    return loss


def _check_shape(logits: Array, y: Array) -> None:
    if logits.shape[:-1] != y.shape:
        raise ValueError(f"labels must be one for every output {logits.shape[:-1]}, got shape {y.shape}")


def bounded(loss: Loss, highest: int) -> Loss:
    """The loss, refused where labels are not those of the outputs: JAX would broadcast them, or take the last one."""

    def bounded(model: Any, x: Array, y: Array) -> tuple[Array, Array]:
        value, logits = loss(model, x, y)
        _check_shape(logits, y)
        if highest >= logits.shape[-1]:
            raise ValueError(f"labels go up to {highest}, and the network has {logits.shape[-1]} outputs, from 0 on")
        return value, logits

    return bounded
