import jax
import crossjax as cx

g = jax.random.uniform(jax.random.key(0), (64, 64), minval=1.0, maxval=25.0)  # µS
effective = cx.wires.effective_conductance(g, r_word=2.0, r_bit=2.0)  # Ω
axes = cx.plot.ir_drop(g, effective)
