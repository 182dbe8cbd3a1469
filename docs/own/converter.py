"""A converter of your own: an ADC with one more effect, drawn for every column of a chip."""

import jax
import jax.numpy as jnp

import crossjax as cx
from crossjax import circuits


@cx.spec
class Columns(circuits.ColumnSpread):
    """What the columns of a `DeadZone` ADC turned out to be besides."""

    dead: jax.Array | None = None


@cx.spec
class DeadZone(cx.ADC):
    """An ADC that reads 0 below a threshold of its own.

    Attributes:
        zone: largest threshold, in full inputs on full weights.
    """

    zone: float = 0.0

    def __post_init__(self):
        cx.check_range(self, "zone", low=0)

    def draw(self, key, shape):  # one chip's columns
        plain = super().draw(key, shape)
        dead = self.zone * cx.keys.uniform(cx.keys.named(key, "zone"), shape)
        return Columns(plain.gain, plain.offset, plain.bow, plain.twist, dead)

    def distort(self, y, columns):  # before clipping and rounding
        y = super().distort(y, columns)
        dead = columns.dead if isinstance(columns, Columns) else 0.0  # perfect columns, while training
        return jnp.where(jnp.abs(y) < dead, 0.0, y)


key, weights = jax.random.key(0), jax.random.normal(jax.random.key(1), (12, 6)) / 3
tile = cx.Tile(16, 16, adc=DeadZone(bits=10, range=2.0, zone=0.5), compensation=None)
chip, _ = cx.program(key, tile, weights, cx.Exact())
x = jax.random.normal(jax.random.key(2), (32, 12)) / 30
print(jnp.mean(cx.mvm(key, tile, chip, x) == 0))
