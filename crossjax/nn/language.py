"""Language models that fit a crossbar: LSTMs whose gates are one matrix, and a small Transformer encoder.

    tokens (batch, time) ──embed──► LSTM, LSTM ──head──► logits (batch, time, tokens)

The four gates of an LSTM layer are one matrix [x, h] → 4 h: one array per layer (Tsai et al., VLSI 2019: four PCM
devices for each of its weights). Embedding and head are layers of their own, to be put on tiles or not by rules.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from crossjax.nn.change import at_step, held, is_observed

State = tuple[tuple[Array, Array], ...]
"""(h, c), each (batch, hidden), of every layer."""


class LSTM(nnx.Module):
    """One layer: i, f, g, o = [x, h] W + b; c ← σ(f) c + σ(i) tanh(g); h ← σ(o) tanh(c).

    Hochreiter & Schmidhuber, Neural Comput. 9:1735 (1997), with forget gates. On tiles every time step is an MVM with
    noise of its own; the weights are those of one chip at all steps.
    """

    def __init__(self, inputs: int, hidden: int, *, init: Any = None, rngs: nnx.Rngs) -> None:
        start = {} if init is None else {"kernel_init": init}
        self.gates = nnx.Linear(inputs + hidden, 4 * hidden, rngs=rngs, **start)
        self.hidden = hidden

    def __call__(self, x: Array, state: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        """(batch, time, inputs) and (h, c) before → (batch, time, hidden) and (h, c) after."""
        gates = held(self.gates)

        def step(carry: tuple[Array, Array], at: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
            (h, c), (n, x) = carry, at
            i, f, g, o = jnp.split(at_step(gates, n)(jnp.concatenate([x, h], axis=-1)), 4, axis=-1)
            c = nnx.sigmoid(f) * c + nnx.sigmoid(i) * jnp.tanh(g)
            h = nnx.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        along = jnp.arange(x.shape[1]), x.swapaxes(0, 1)
        if is_observed(self.gates):  # what calibration measures would not leave a scan
            y = []
            for n in range(x.shape[1]):
                state, out = step(state, jax.tree.map(lambda a, n=n: a[n], along))
                y.append(out)
            return jnp.stack(y, axis=1), state
        state, y = lax.scan(step, state, along)
        return y.swapaxes(0, 1), state


class LanguageModel(nnx.Module):
    """Tokens to the logits of the next token, through LSTM layers.

    Args:
        tokens: size of the vocabulary.
        hidden: of every layer, and of the embedding unless ``embedding`` says otherwise.
        layers: how many.
        embedding: width of the embedding.
        init: initial weights (default: Flax's); Zaremba et al., arXiv:1409.2329 (2014), draw them from ± 0.1.
        rngs: for the initial weights.
    """

    def __init__(
        self, tokens: int, hidden: int, layers: int = 1, *, embedding: int | None = None, init: Any = None,
        rngs: nnx.Rngs,
    ) -> None:  # fmt: skip
        width = embedding or hidden
        start = {} if init is None else {"embedding_init": init}
        self.embed = nnx.Embed(tokens, width, rngs=rngs, **start)
        self.layers = nnx.List([LSTM(width if k == 0 else hidden, hidden, init=init, rngs=rngs) for k in range(layers)])
        self.head = nnx.Linear(hidden, tokens, rngs=rngs, **({} if init is None else {"kernel_init": init}))

    def start(self, batch: int) -> State:
        """The state before the first token."""
        zeros = (jnp.zeros((batch, layer.hidden)) for layer in self.layers)
        return tuple((z, z) for z in zeros)

    def run(self, tokens: Array, state: State) -> tuple[Array, State]:
        """(batch, time) and the state before → logits (batch, time, tokens) and the state after."""
        x, after = self.embed(tokens), []
        for k, layer in enumerate(self.layers):
            x, now = layer(x, state[k])
            after.append(now)
        flat = self.head(x.reshape(-1, x.shape[-1]))  # one matrix product, a third faster than a batch of them
        return flat.reshape(*tokens.shape, -1), tuple(after)

    def __call__(self, tokens: Array) -> Array:
        """(batch, time) → logits (batch, time, tokens), from the start."""
        return self.run(tokens, self.start(tokens.shape[0]))[0]


class Encoder(nnx.Module):
    """One Transformer layer: attention and a ReLU layer, each after a norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, inner: int, *, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, inner, rngs=rngs)
        self.down = nnx.Linear(inner, width, rngs=rngs)

    def __call__(self, x: Array, mask: Array) -> Array:
        """(batch, time, width) and (batch, 1, time, time) → (batch, time, width)."""
        x = x + self.attention(self.norm1(x), mask=mask)
        return x + self.down(nnx.relu(self.up(self.norm2(x))))


class TextClassifier(nnx.Module):
    """A Transformer encoder over a sentence: the mean over its words to logits. Token 0 is where it has ended."""

    def __init__(
        self, tokens: int, classes: int = 2, *, width: int = 64, heads: int = 4, inner: int = 128, layers: int = 2,
        longest: int = 56, rngs: nnx.Rngs,
    ) -> None:  # fmt: skip
        self.embed = nnx.Embed(tokens, width, rngs=rngs)
        self.position = nnx.Param(0.02 * jax.random.normal(rngs.params(), (longest, width)))
        self.layers = nnx.List([Encoder(width, heads, inner, rngs=rngs) for _ in range(layers)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, tokens: Array) -> Array:
        """(batch, time) → (batch, classes)."""
        there = tokens > 0
        x = (self.embed(tokens) + self.position[...][: tokens.shape[1]]) * there[..., None]
        for layer in self.layers:
            x = layer(x, there[:, None, None, :])
        x = self.norm(x) * there[..., None]
        return self.head(jnp.sum(x, axis=1) / jnp.maximum(jnp.sum(there, axis=1), 1)[:, None])
