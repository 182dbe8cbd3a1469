import jax
import jax.numpy as jnp
import crossjax as cx

g = jax.random.uniform(jax.random.key(0), (32, 32), minval=1.0, maxval=25.0)  # µS
axes = cx.plot.line_voltages(cx.wires.solve(g, jnp.full(32, 0.2), 5.0, 5.0))
