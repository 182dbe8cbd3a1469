"""A readout of your own: mirrors that do not match, inputs scaled by their size, vectors sent again as they fit."""

import jax
import jax.numpy as jnp

import crossjax as cx
from crossjax import circuits, tiles


@cx.spec
class Mirrored(tiles.Analog):
    """Currents of negative devices go through a mirror before they are subtracted.

    Attributes:
        error: how much more than its input the mirror gives out.
    """

    error: float = cx.static(default=0.0)

    @property
    def exact(self):  # what reaches the ADCs is not the weight
        return False

    def lines(self, cell, x):  # (devices, …): 1+, 1−, 2+, 2− …
        return super().lines(cell, x.at[1::2].multiply(1 + self.error))

    def variance(self, cell, variance):
        return super().variance(cell, variance.at[1::2].multiply((1 + self.error) ** 2))


@cx.spec
class RootMeanSquare(circuits.AbsMax):
    """So many root mean squares of a vector are a full signal; larger inputs are clipped."""

    times: float = cx.static(default=3.0)

    def scale(self, x, limit):
        size = self.times * jnp.sqrt(jnp.mean(x * x, axis=-1, keepdims=True))
        return jax.lax.stop_gradient(jnp.where(size > 0, size, 1.0))


@cx.spec
class Exactly(circuits.Halve):
    """A vector that saturates is sent again, its largest output at the end of the range."""

    def share(self, excess):
        return jnp.maximum(excess, 1.0)


key, weights = jax.random.key(0), jax.random.normal(jax.random.key(1), (12, 6)) / 3
x = jax.random.normal(jax.random.key(2), (32, 12))
dac, adc = cx.DAC(scaling=RootMeanSquare()), cx.ADC(10, range=0.5, on_saturation=Exactly())
for error in (0.0, 0.05):
    tile = cx.Tile(16, 16, dac=dac, adc=adc, subtract=Mirrored(error), compensation=None)
    chip, _ = cx.program(key, tile, weights, cx.Exact())
    print(cx.mvm_error(key, tile, chip, weights, x))
