import jax
import jax.numpy as jnp
import crossjax as cx

key, tile = jax.random.key(0), cx.presets.pcm()
weights = jax.random.normal(jax.random.key(1), (64, 64))
times = jnp.array([0.0, 60.0, 3600.0, 86_400.0, 30 * 86_400.0])


def errors(key):
    chip, _ = cx.program(key, tile, weights)
    return jax.vmap(lambda t: cx.mvm_error(key, tile, chip, weights, t=t))(times)


axes = cx.plot.population(times, jax.vmap(errors)(jax.random.split(key, 100)), ylabel="MVM error")
