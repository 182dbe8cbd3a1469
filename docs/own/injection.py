"""An injection of your own: what disturbs the weights of every training batch (`crossjax.tiles.Injection`)."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import crossjax as cx


@cx.spec
class SignFlips:
    """Weights whose sign is wrong, each with a probability: a bit of its pair that failed.

    Attributes:
        p: the probability, in [0, 1].
    """

    p: float = 0.001

    def __post_init__(self):
        cx.check_range(self, "p", low=0, high=1)

    def disturb(self, key, tile, w, scale):  # normalised weights of tiles (…, rows, cols), and what 1 stands for
        return jnp.where(cx.keys.uniform(key, w.shape) < self.p, -w, w)

    def variance(self, w, scale):  # of what is drawn anew for every input vector; None: nothing
        return None


key = jax.random.key(0)
x, y = cx.images.digits()
model = cx.nn.models.MLP((64, 32, 10), rngs=nnx.Rngs(0))
analog = cx.nn.to_analog(model, cx.presets.ideal(), injections=[SignFlips()], report=None)
trained = cx.training.fit(key, analog, (x, y), optax.adam(3e-3), steps=100, batch=64, progress=False).model
trained.eval()
print(cx.nn.accuracy(trained, jnp.asarray(x), jnp.asarray(y)))
