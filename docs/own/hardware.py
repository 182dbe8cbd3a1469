"""Hardware for layers that is no tile (`crossjax.nn.Hardware`)."""

import jax
import jax.numpy as jnp
from flax import nnx

import crossjax as cx


@cx.spec
class Mesh(cx.nn.Hardware):
    """A mesh of interferometers whose attenuators have few bits and whose lamp fades.

    Attributes:
        bits: of an attenuator.
        noise: of a detector, in units of the outputs.
        fading: 1/s.
    """

    bits: int = cx.static(default=6)
    noise: float = 0.01
    fading: float = 1e-3

    def ideal_reading(self, key, weights, injections):  # while training: weights as they are
        return weights

    def program(self, key, weights, method):  # (chip, history)
        top, steps = jnp.abs(weights).max(), 2**self.bits - 1
        return jnp.round(weights / top * steps) / steps * top, None

    def read(self, key, chip, t, compensate):  # as it multiplies at t
        return chip * jnp.exp(-self.fading * t)

    def multiply(self, key, reading, x):  # (…, rows) to (…, cols)
        y = x @ reading
        return y + self.noise * cx.keys.normal(key, y.shape)


key, x = jax.random.key(0), jax.random.normal(jax.random.key(2), (32, 12)) / 3
model = nnx.Linear(12, 6, rngs=nnx.Rngs(1))
chip, _ = cx.nn.program(key, cx.nn.to_analog(model, Mesh(), report=None), report=None)
print([float(jnp.linalg.norm(cx.nn.read(key, chip, t)(x) - model(x))) for t in (0.0, 1e3)])
