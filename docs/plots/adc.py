import jax
import crossjax as cx

key, weights = jax.random.key(0), jax.random.normal(jax.random.key(1), (128, 128))
tile = cx.typical_ranges(cx.presets.hermes(), weights)
chip, history = cx.program(key, tile, weights)
axes = cx.plot.adc_use(tile, chip, jax.random.normal(key, (256, 128)) / 3)
