"""How inputs are made to fit: what becomes a full signal of a DAC, and what is done about a saturated ADC."""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
from jax import Array, lax

from crossjax._pytree import check_count, spec, static


class InputScaling(Protocol):
    """What input becomes a full signal (noise management)."""

    @property
    def per_vector(self) -> bool:
        """Whether every vector has a scale of its own, whatever the DAC's range is."""
        ...

    def scale(self, x: Array, limit: Array | float) -> Array:
        """The input that becomes a full signal, of vectors ``x`` (last axis: rows), all finite: (…, 1), or one number.

        Positive, for a vector of zeros as well. ``limit``: the range of the DAC.
        """
        ...


@spec
class FixedRange:
    """The range of the DAC, which training learns."""

    @property
    def per_vector(self) -> bool:
        """See `InputScaling.per_vector`."""
        return False

    def scale(self, x: Array, limit: Array | float) -> Array:
        """See `InputScaling.scale`."""
        return jnp.asarray(limit)


@spec
class AbsMax:
    """The largest magnitude of every vector; no gradient flows through it."""

    @property
    def per_vector(self) -> bool:
        """See `InputScaling.per_vector`."""
        return True

    def scale(self, x: Array, limit: Array | float) -> Array:
        """See `InputScaling.scale`."""
        largest = lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
        return jnp.where(largest > 0, largest, 1.0)


class Saturation(Protocol):
    """What is done about a vector that saturates an ADC (bound management)."""

    @property
    def again(self) -> bool:
        """Whether a vector may be sent again."""
        ...

    def share(self, excess: Array) -> Array:
        """Divisors of the inputs, ≥ 1, with which vectors are sent again, of how far they exceed the range.

        ``excess``: largest output over the range, (…, 1); up to 1 nothing saturated. Asked only if `again`.
        """
        ...


@spec
class Clip:
    """Nothing: outputs beyond the range are lost."""

    @property
    def again(self) -> bool:
        """See `Saturation.again`."""
        return False

    def share(self, excess: Array) -> Array:
        """See `Saturation.share`."""
        return jnp.ones_like(excess)


@spec
class Halve:
    """It is sent again at half the input until it fits.

    Attributes:
        most: how often at most.
    """

    most: int = static(default=10)

    def _check(self) -> None:
        check_count(self, "most")

    @property
    def again(self) -> bool:
        """See `Saturation.again`."""
        return True

    def share(self, excess: Array) -> Array:
        """See `Saturation.share`."""
        return 2.0 ** jnp.clip(jnp.ceil(jnp.log2(jnp.maximum(excess, 1.0))), 0.0, self.most)


SCALINGS: dict[str, InputScaling] = {"fixed": FixedRange(), "absmax": AbsMax()}
SATURATIONS: dict[str, Saturation] = {"clip": Clip(), "halve": Halve()}
"""Those that have a name."""
