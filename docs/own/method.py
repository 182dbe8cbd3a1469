"""A programming method of your own: a loop over the verbs of a core (`crossjax.programming.Method`)."""

import jax
import jax.numpy as jnp

import crossjax as cx
from crossjax import programming


@cx.spec
class Halving:
    """Read every cell, correct half of what is missing, a fixed number of times.

    Attributes:
        iterations: how often.
    """

    iterations: int = cx.static(default=5)

    def run(self, key, core, weights, input_limit):
        def step(core, state, key, k):
            read = core.verify(cx.keys.named(key, "read"), weights.shape[0], 1, 1.0, "mvm")
            core, pulses = core.pulse(cx.keys.named(key, "pulse"), 0.5 * (weights - read))
            errors = programming.probe(key, core, weights, input_limit)
            spent = programming.Spent(pulses, weights.shape[0], weights.size)
            return core, state, programming.measure(core, errors, weights, spent, jnp.zeros_like(weights))

        core, _, sums = core.repeat(step, None, key, self.iterations)
        return core, sums


weights = jax.random.normal(jax.random.key(1), (12, 6)) / 3
chip, history = cx.program(jax.random.key(0), cx.Tile(16, 16, compensation=None), weights, Halving())
print(history.mvm_error)
