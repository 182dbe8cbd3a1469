"""A write law of your own: what a pulse does to a device, and what its controller sends (`crossjax.devices.Write`)."""

import jax
import jax.numpy as jnp

import crossjax as cx
from crossjax import devices


@cx.spec
class Bounded:
    """Identical pulses up or down, each a step that shrinks towards its bound.

    Attributes:
        step: share of what is left to the bound.
        noise: of one pulse, relative to its step.
    """

    step: float = 0.05
    noise: float = 0.0

    def start(self, key, shape, g_min, g_max):  # fresh devices: conductance, their memory, the controller's
        return jnp.full(shape, g_min), None, None

    def respond(self, key, memory, g, stimulus, g_min, g_max):  # the device: knows itself
        room = jnp.where(stimulus > 0, g_max - g, g - g_min)
        moved = self.step * stimulus * room * (1.0 + self.noise * cx.keys.normal(key, g.shape))
        return jnp.clip(g + moved, g_min, g_max), memory

    def plan(self, target, known, goal, g_min, g_max):  # the controller: knows what it asked for
        sign = jnp.sign(goal - target)
        believed, _ = cx.replace(self, noise=0.0).respond(jax.random.key(0), None, target, sign, g_min, g_max)
        return devices.Plan(sign, jnp.abs(sign).astype(jnp.int32), believed, known)

    def deviation(self, g, g_max):  # σ of one pulse, µS: what GDP weighs a pulse against
        return self.step * self.noise * (g_max - g)


key = jax.random.key(0)
tile = cx.Tile(16, 16, cx.Device(write=Bounded(noise=0.1), programming=devices.ByPulses()), compensation=None)
chip = cx.build(key, tile, (12, 6))
for n in range(3):
    chip, pulses = cx.write(cx.keys.numbered(key, n), tile, chip, jnp.full((12, 6), 0.01))
print(cx.weights_at(key, tile, chip).mean(), 1 - 0.95**3)
