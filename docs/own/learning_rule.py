"""A learning rule of your own: a scan over writes, here pulsed stochastic gradient descent on one tile."""

import jax
import jax.numpy as jnp

import crossjax as cx

wanted = jnp.clip(jax.random.normal(jax.random.key(1), (12, 6)) / 3, -0.9, 0.9)


def learn(key, tile):
    """The chip after 150 batches, with its relative error and its pulses at each."""

    def step(chip, k):
        x = cx.keys.uniform(cx.keys.named(k, "x"), (8, 12), -1.0, 1.0)
        error = cx.mvm(cx.keys.named(k, "mvm"), tile, chip, x) - x @ wanted
        chip, pulses = cx.write(cx.keys.named(k, "write"), tile, chip, -0.2 * x.T @ error / 8)
        return chip, (jnp.sum(error**2) / jnp.sum((x @ wanted) ** 2), pulses)

    chip = cx.build(cx.keys.named(key, "build"), tile, wanted.shape)
    return jax.lax.scan(step, chip, cx.keys.split(key, 150))


noisy = cx.Tile(16, 16, cx.devices.noisy(sigma=0.2), noise=0.01, compensation=None)
variants = jax.vmap(lambda s: cx.replace(noisy, **{"device.write.noise": s}))(jnp.array([0.0, 0.2, 0.5]))
chips, (loss, pulses) = jax.jit(jax.vmap(learn, (None, 0)))(jax.random.key(0), variants)  # three devices at once
print(loss[:, 0], loss[:, -20:].mean(axis=1))
