"""A cell of your own for a memory that is searched: what distance a match line adds up (`crossjax.cam.Cell`)."""

import jax
import jax.numpy as jnp

import crossjax as cx


@cx.spec
class Saturating(cx.cam.PerLevel):
    """1 − e^(−|q − s| / λ): levels that are far apart differ by hardly more than neighbours do.

    Attributes:
        scale: λ, in levels.
    """

    scale: float = 1.0

    def __post_init__(self):
        cx.check_range(self, "scale", low=0, strict=True)

    def table(self, levels):  # (level of the query, level stored) → current
        k = jnp.arange(levels, dtype=float)
        return -jnp.expm1(-jnp.abs(k[:, None] - k) / self.scale)


key, memory = jax.random.key(0), cx.cam.CAM(bits=2, cell=Saturating(scale=0.5))
stored = jax.random.randint(jax.random.key(1), (10, 64), 0, 4)
chip, _ = cx.cam.write(key, memory, stored)
print(cx.cam.search(key, memory, chip, stored))  # every word finds itself
