import jax
import crossjax as cx

weights, tile = jax.random.normal(jax.random.key(1), (64, 64)), cx.presets.hermes(gain=0.03)
chips, history = jax.vmap(lambda k: cx.program(k, tile, weights, cx.GDP()))(jax.random.split(jax.random.key(0), 4))
axes = cx.plot.history(history)
