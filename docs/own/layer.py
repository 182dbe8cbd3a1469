"""A type of layer of your own: one matrix that is multiplied with, and where it is."""

import jax
import jax.numpy as jnp
from flax import nnx

import crossjax as cx


class Gate(nnx.Module):
    """One matrix, and its output gates its input."""

    def __init__(self, size, *, rngs):
        self.table = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), (size, size)))
        self.product = jnp.matmul  # what `crossjax.nn.register` puts a tile in place of

    def __call__(self, x):
        return x * nnx.sigmoid(self.product(x, self.table[...]))


if __name__ == "__main__":
    cx.nn.register(Gate, "product", kernel="table")
    key, x = jax.random.key(0), jax.random.normal(jax.random.key(2), (32, 12)) / 3
    model = nnx.Sequential(Gate(12, rngs=nnx.Rngs(0)), nnx.Linear(12, 6, rngs=nnx.Rngs(1)))
    chip, histories = cx.nn.program(key, cx.nn.to_analog(model, cx.presets.pcm()))
    day = cx.nn.read(key, chip, t=86_400.0)
    print(jnp.linalg.norm(day(x) - model(x)) / jnp.linalg.norm(model(x)))
