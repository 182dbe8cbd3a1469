"""Optax transformations for weights that are to lie on chips; put them last in a chain."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from crossjax._checks import ensure, ensure_range
from crossjax._kinds import door
from crossjax.nn.ops import InputRange


@door
def clip_weights(alpha: float = 2.0) -> optax.GradientTransformation:
    """Clip every matrix and kernel to ± α standard deviations of its weights after each update.

    Joshi et al., Nat. Commun. 11:2473 (2020): α = 2.0 for CIFAR-10 and 2.5 for ImageNet. A smaller largest weight is
    less noise, which is a fraction of it. Vectors (biases, norms) are left alone.

    Raises:
        ValueError: for an α that is not positive.
    """
    ensure_range("alpha", alpha, low=0, strict=True)

    def clip(update: Any, value: Any) -> Any:
        if jnp.ndim(value) < 2:
            return update
        new = value + update
        limit = alpha * jnp.std(new)
        return jnp.clip(new, -limit, limit) - value

    return optax.stateless(lambda updates, params: jax.tree.map(clip, updates, params))


@door
def bound_weights(limit: float = 1.0) -> optax.GradientTransformation:
    """Clip every matrix and kernel to ± ``limit`` after each update: latent weights, whose signs count.

    Beyond it a straight-through sign has no gradient (Courbariaux et al., arXiv 1602.02830). Vectors are left alone.

    Raises:
        ValueError: for a limit that is not positive.
    """
    ensure_range("limit", limit, low=0, strict=True)

    def bound(update: Any, value: Any) -> Any:
        return update if jnp.ndim(value) < 2 else jnp.clip(value + update, -limit, limit) - value

    return optax.stateless(lambda updates, params: jax.tree.map(bound, updates, params))


@door
def ranges(decay: float = 1e-3, *, speed: float = 1.0, smallest: float = 1e-3) -> optax.GradientTransformation:
    """How learned input ranges move: their gradient's update times ``speed``, shrinking by ``decay`` of themselves.

    A range that clips nothing gets no gradient to shrink; the decay makes it as small as the loss lets it be.

    Args:
        decay: fraction of a range lost at every step.
        speed: factor on the update.
        smallest: no range falls below it.

    Raises:
        ValueError: for a decay outside [0, 1).
    """
    ensure(lambda d: (d >= 0) & (d < 1), "decay must be in [0, 1)", decay)
    for name, number in (("speed", speed), ("smallest", smallest)):
        ensure_range(name, number, low=0)

    def move(update: Any, value: Any) -> Any:
        if not isinstance(value, InputRange):
            return update
        new = (1.0 - decay) * value.get_value() + speed * update.get_value()
        return update.replace(jnp.maximum(new, smallest) - value.get_value())

    def is_variable(leaf: Any) -> bool:
        return isinstance(leaf, nnx.Variable)

    return optax.stateless(lambda updates, params: jax.tree.map(move, updates, params, is_leaf=is_variable))
