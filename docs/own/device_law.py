"""A device law of your own: what time does to a conductance, in the sense of `crossjax.devices.Drift`."""

import jax
import jax.numpy as jnp

import crossjax as cx


@cx.spec
class Collapse:
    """What is above a level g_c loses a share of the rest every second, one device more than another.

    Attributes:
        rate: share lost, 1/s.
        g_c: the level, µS.
    """

    rate: float
    g_c: float = 5.0

    def __post_init__(self):
        cx.check_range(self, "rate", low=0)

    def draw(self, key, x):  # once per write: here every device's own rate
        return self.rate * (1.0 + 0.1 * cx.keys.normal(key, x.shape))

    def typical(self, x):  # what a device without spread would have drawn
        return jnp.full_like(x, self.rate)

    def logarithm(self, t):  # a function of time that all devices share
        return jnp.asarray(t)

    def apply(self, g, drawn, logarithm, g_max):  # conductances (µS) at that time
        return jnp.where(g > self.g_c, self.g_c + (g - self.g_c) * jnp.exp(-drawn * logarithm), g)


key, weights = jax.random.key(0), jax.random.normal(jax.random.key(1), (12, 6)) / 3
tile = cx.Tile(16, 16, cx.Device(drift=Collapse(1e-3)), compensation=None)
chip, _ = cx.program(key, tile, weights, cx.Exact())
print([float(cx.mvm_error(key, tile, chip, weights, t=t)) for t in (0.0, 1e3, 1e6)])
