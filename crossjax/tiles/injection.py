"""Weights on hardware that is not built yet: the reading that a chip would give, with the noise to train against.

    weights ──normalise──► w ──injections──► w + δw ──► Reading ──forward──► outputs

Training sees hardware through the same `Reading` and the same forward pass as a programmed chip. Gradients reach the
clean weights: noise and digital scales are constants to them, and the backward pass goes through the noisy weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import jax.numpy as jnp
from jax import Array, lax

from crossjax._numerics import ratio
from crossjax._pytree import check_choice, check_range, spec, static
from crossjax._random import named, normal, uniform
from crossjax.tiles.mvm import line_conductances
from crossjax.tiles.tile import Reading, Tile, normalise


class Injection(Protocol):
    """A disturbance of normalised weights (down, across, r, c) while training."""

    def disturb(self, key: Array, tile: Tile, w: Array, scale: Array) -> Array:
        """The weights as this forward pass is to see them; ``scale`` (down, across, 1 or c)."""
        ...

    def variance(self, w: Array, scale: Array) -> Array | None:
        """Variance of every normalised weight that is drawn anew for each input vector."""
        ...


@spec
class WeightNoise:
    """Gaussian noise on weights, σ = η · max |w|; Joshi et al., Nat. Commun. 11:2473 (2020): η = 3.8 %.

    Attributes:
        eta: standard deviation in units of the largest weight.
        per: the largest weight of the "layer", of each "tile" or of each "column".
        fresh: drawn once per "batch"; or anew for every "vector" (each example of a dense layer, each position of
            a convolution), which costs a second product instead of a draw per weight: Σ (η x)² at every output.
    """

    eta: float = 0.038
    per: str = static(default="layer")
    fresh: str = static(default="batch")

    def _check(self) -> None:
        check_range(self, "eta", low=0)
        check_choice(self, "per", ("layer", "tile", "column"))
        check_choice(self, "fresh", ("batch", "vector"))

    def sigma(self, w: Array, scale: Array) -> Array:
        """Standard deviation in normalised weights, broadcast against them."""
        if self.per == "tile" and scale.shape[-1] == 1:
            return jnp.asarray(self.eta)
        size = scale[:, :, None] * jnp.abs(lax.stop_gradient(w))
        axes = {"layer": None, "tile": (-2, -1), "column": -2}[self.per]
        return self.eta * jnp.max(size, axis=axes, keepdims=True) / scale[:, :, None]

    def disturb(self, key: Array, tile: Tile, w: Array, scale: Array) -> Array:
        """See `Injection.disturb`."""
        if self.fresh == "vector":
            return w
        return w + self.sigma(w, scale) * normal(key, w.shape, w.dtype)

    def variance(self, w: Array, scale: Array) -> Array | None:
        """See `Injection.variance`."""
        return None if self.fresh == "batch" else jnp.broadcast_to(self.sigma(w, scale) ** 2, w.shape)


@spec
class DeviceNoise:
    """The device's own errors at the conductances of the weights, as if it were programmed for every batch.

    Attributes:
        t: also let it drift, with its 1/f noise, for so many seconds; the mean loss of conductance is compensated.
            None: programming error alone.
    """

    t: float | None = None

    def _check(self) -> None:
        check_range(self, "t", low=0)

    def disturb(self, key: Array, tile: Tile, w: Array, scale: Array) -> Array:
        """See `Injection.disturb`."""
        device, cell = tile.written, tile.cell
        clean = lax.stop_gradient(w)
        target = tile.targets(clean)
        blank = device.reset(named(key, "reset"), target.shape)
        state = device.program(named(key, "program"), blank, target)
        g = state.g if self.t is None else device.at(named(key, "at"), state, self.t)
        found = cell.decode(device.in_spans(g))
        if self.t is not None:
            axes = (-2, -1)
            now = jnp.sum(jnp.abs(found), axes, keepdims=True)
            found = found * ratio(jnp.sum(jnp.abs(clean), axes, keepdims=True), now, 1.0)
        return w + lax.stop_gradient(found - clean)

    def variance(self, w: Array, scale: Array) -> Array | None:
        """See `Injection.variance`."""
        return None


@spec
class DropConnect:
    """Weights that are missing, each with probability p, for one batch (devices that fail).

    Attributes:
        p: probability of a weight to be missing, in [0, 1].
    """

    p: float = 0.01

    def _check(self) -> None:
        check_range(self, "p", low=0, high=1)

    def disturb(self, key: Array, tile: Tile, w: Array, scale: Array) -> Array:
        """See `Injection.disturb`."""
        return jnp.where(uniform(key, w.shape) < self.p, 0.0, w)

    def variance(self, w: Array, scale: Array) -> Array | None:
        """See `Injection.variance`."""
        return None


def ideal_reading(key: Array, tile: Tile, weights: Array, injections: Sequence[Injection] = ()) -> Reading:
    """The reading of a perfectly programmed chip, disturbed by ``injections``; differentiable in ``weights``.

    Converters are perfect in gain and offset; wires and the read noise of the device are those of the tile.

    Args:
        key: randomness of the injections.
        tile: the hardware.
        weights: (rows, cols).
        injections: disturbances, one after the other.

    Raises:
        ValueError: for noise per vector on a tile that digitises every line of a cell by itself.
    """
    shape = (weights.shape[0], weights.shape[1])
    scale = lax.stop_gradient(normalise(tile, weights)[1])
    w = tile.grid(shape).cut(weights) / scale[:, :, None]
    variances = []
    for k, injection in enumerate(injections):
        w = injection.disturb(named(key, f"injection {k}"), tile, w, scale)
        variances += [v for v in [injection.variance(w, scale)] if v is not None]
    if variances and tile.subtraction.digital:
        raise ValueError('WeightNoise(fresh="vector") needs a tile that subtracts the lines of a cell before its ADCs')
    extra = sum(variances[1:], variances[0]) if variances else None
    device, order = tile.device, (0, 2, 1, 3)  # (down, across, r, c) → (down, r, across, c)
    extra = None if extra is None else extra.transpose(order)[:, :, None]
    if tile.subtraction.exact and not device.reads_noisily and tile.wires is None and tile.states is None:
        return Reading(w.transpose(order)[:, :, None], extra, scale, None, shape)
    lines, variance = line_conductances(tile, tile.targets(w), shape)
    if extra is not None:
        variance = extra if variance is None else variance + extra
    return Reading(lines, variance, scale, None, shape)
