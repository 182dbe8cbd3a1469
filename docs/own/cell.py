"""A unit cell of your own: how a weight is made of devices (`crossjax.tiles.UnitCell`)."""

import jax
import jax.numpy as jnp

import crossjax as cx
from crossjax import tiles


@cx.spec
class Offset(tiles.BaseCell):
    """One device and no reference: w = 2 x − 1, half the span being what the digital side knows exactly.

    For devices whose g_min is 0: x is G / (g_max − g_min), so that another g_min would have to be taken off as well.
    """

    @property
    def devices(self):  # a weight
        return 1

    @property
    def extra_columns(self):  # of a tile, for references
        return 0

    def encode(self, w):  # weights in [−1, 1] to places (devices, …) in [0, 1] between g_min and g_max
        return (0.5 + w / 2)[None]

    def decode(self, x):  # and back
        return self.combine(self.lines(x))

    def correct(self, target, change):  # places after a wanted change of weight
        return jnp.clip(target + change[None] / 2, 0.0, 1.0)

    def lines(self, x):  # what each line of the cell multiplies with
        return 2 * x - 1

    def combine(self, y):  # lines (lines, …) to outputs
        return y[0]

    def variance(self, variance):  # of the weight, from the devices'
        return 4 * variance[0]


key, weights = jax.random.key(0), jax.random.normal(jax.random.key(1), (12, 6)) / 3
tile = cx.Tile(16, 16, cell=Offset())
chip, _ = cx.program(key, tile, weights)
print(cx.mvm_error(key, tile, chip, weights))
