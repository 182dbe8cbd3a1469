import jax
import crossjax as cx

key, weights = jax.random.key(0), jax.random.normal(jax.random.key(1), (128, 128))
tile = cx.replace(cx.presets.hermes(), **{"device.faults": cx.Faults(low=0.01, high=0.002)})
chip, history = cx.program(key, tile, weights)
axes = cx.plot.chip(tile, chip, weights, t=86_400.0)
