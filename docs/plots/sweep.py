import jax
import jax.numpy as jnp
import crossjax as cx

key, weights = jax.random.key(0), jax.random.normal(jax.random.key(1), (64, 64))


def error(key, noise, full):
    tile = cx.replace(cx.presets.standard(), noise=noise, **{"adc.range": full})
    return cx.mvm_error(key, tile, cx.program(key, tile, weights)[0], weights)


noises, ranges = jnp.linspace(0.0, 0.1, 8), jnp.linspace(1.0, 8.0, 8)
grid = jax.vmap(jax.vmap(error, (None, None, 0)), (None, 0, None))(key, noises, ranges)
axes = cx.plot.sweep((noises, ranges), grid, names=("output noise", "range of the ADC"), ylabel="MVM error")
