"""Language models as the papers on programming weights use them: trained without and with noise, and measured.

The gates of the LSTMs and the Transformer's products are on tiles; embeddings and output layers are digital.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array, lax

from crossjax import nn, report, text, training
from crossjax._random import named
from crossjax.papers.options import Options
from crossjax.tiles.tile import Tile

ON_TILES = {"lstm": r".*gates", "transformer": r"layers\..*"}
"""Layers on tiles: rules of `crossjax.nn.to_analog`."""


@dataclasses.dataclass(frozen=True)
class TextOptions(Options):
    """What the papers on language models have.

    Attributes:
        data: folder with ptb/, alice.txt and sst2/ (default: the environment variable CROSSJAX_DATA).
        word_model: a word LSTM as such a run leaves it (ptb_lstm.safetensors), instead of training one.
        seeds: instead of the preset's number of chips.
        tokens: of the test text, instead of the preset's number.

    Raises:
        ValueError: for a number below 1.
    """

    data: Path | None = None
    word_model: Path | None = None
    seeds: int | None = None
    tokens: int | None = None

    def cut(self, cuts: dict[str, str]) -> str:
        """What this run leaves out: that of its preset, and what was given instead of the preset's own."""
        given = {
            "word_model": "a word LSTM that was given",
            "seeds": f"{self.seeds} chips",
            "tokens": f"{self.tokens} words",
        }
        instead = [said for name, said in given.items() if getattr(self, name) is not None]
        return cuts[self.preset] + (f"; but with {', '.join(instead)}" if instead else "")

    def __post_init__(self) -> None:
        for name in ("seeds", "tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


@dataclasses.dataclass(frozen=True)
class Task:
    """A network and what it is measured by.

    Attributes:
        name: of the network.
        figure: "loss" or "accuracy".
        model: trained, digital, by how it was trained: "conventional", and "noise-aware" where there is one.
        tiles: rule for the layers on tiles, or None for all.
        example: an input to trace the network with.
        data: inputs and targets, on the device.
        measure: (network, data) → the figure; pure.
    """

    name: str
    figure: str
    model: dict[str, Any]
    tiles: str | None
    example: Any
    data: tuple[Array, Array]
    measure: Callable[[Any, tuple[Array, Array]], Array]

    def on(self, model: Any, tile: Tile, **options: Any) -> Any:
        """A model of this task with its layers on such tiles, in evaluation mode."""
        rules = [] if self.tiles is None else [(self.tiles, tile)]
        analog = nn.to_analog(
            model, tile if self.tiles is None else None, rules, example=self.example, report=None, **options
        )
        analog.eval()
        return analog


class Trainer:
    """Trains what a run needs, with checkpoints in its folder; ``key`` decides all of it."""

    def __init__(self, run: report.Run, key: Array) -> None:
        self.run, self.key = run, key

    def fit(self, name: str, model: Any, data: tuple[np.ndarray, np.ndarray], **options: Any) -> Any:
        """`crossjax.training.fit`, resumed where it stopped."""
        folder = self.run.work / "checkpoints" / name
        options = {"every": 500, "label": name, **options}
        return training.fit(named(self.key, name), model, data, checkpoints=folder, **options).model


def with_parameters(model: Any, trained: Any) -> Any:
    """A copy of a digital network with the parameters of one on tiles: the same paths, no tiles."""
    copy = nnx.clone(model)
    nnx.update(copy, nnx.state(trained, nnx.Param))
    return copy


def only_on_tiles(transform: optax.GradientTransformation, part: str) -> optax.GradientTransformation:
    """A transformation of those parameters whose path holds ``part``, the others left alone."""

    def mask(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: part in jax.tree_util.keystr(path), params)

    return optax.masked(transform, mask)


# ------------------------------------------------------------------------------------------------- LSTMs


def uniform_start(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32, **_: Any) -> Array:
    """Initial weights within ± 0.1, as Zaremba et al. (2014)."""
    return jax.random.uniform(key, shape, dtype, -0.1, 0.1)


def running_loss(net: Any, windows: tuple[Array, Array]) -> Array:
    """Cross-entropy (steps,) in nats a token, over windows (steps, streams, length) with the state carried on."""

    def step(state: Any, at: tuple[Array, Array]) -> tuple[Any, Array]:
        (tokens, following), (n, state) = at, state
        logits, after = nn.at_step(net, n).run(tokens, state)
        flat = logits.reshape(-1, logits.shape[-1])
        loss = optax.softmax_cross_entropy_with_integer_labels(flat, following.reshape(-1)).mean()
        return (n + 1, after), loss

    begin = jnp.zeros((), jnp.int32), net.start(windows[0].shape[1])
    return lax.scan(step, begin, windows)[1]


def mean_loss(net: Any, windows: tuple[Array, Array]) -> Array:
    """Cross-entropy in nats a token."""
    return jnp.mean(running_loss(net, windows))


def as_windows(tokens: np.ndarray, streams: int, length: int) -> tuple[Array, Array]:
    """`crossjax.text.windows`, (steps, streams, length) on the device."""
    x, y = text.windows(tokens, streams, length)
    return jnp.asarray(x.reshape(-1, streams, length)), jnp.asarray(y.reshape(-1, streams, length))


@dataclasses.dataclass(frozen=True)
class LSTMTask:
    """How one LSTM is trained.

    Attributes:
        name: of the network.
        hidden, layers: its size.
        batch, length: streams and tokens of a training window.
        epochs: of conventional training.
        rate, whole: SGD's rate, and the epochs before it halves.
        noise, noise_steps, noise_rate: η of the weights, windows and rate of the noise-aware training that follows.
    """

    name: str
    hidden: int
    layers: int
    batch: int
    length: int
    epochs: int
    rate: float
    whole: int
    noise: float = 0.03
    noise_steps: int = 300
    noise_rate: float = 0.25

    def train(self, trainer: Trainer, corpus: text.Corpus, tile: Tile, weights: Path | None = None) -> dict[str, Any]:
        """The conventional and the noise-aware network; ``weights`` of the former instead of training it."""
        data = text.windows(corpus.train, self.batch, self.length)
        per = len(data[0]) // self.batch
        rngs = nnx.Rngs(named(trainer.key, f"{self.name} initial"))
        model = nn.language.LanguageModel(
            len(corpus.vocabulary), self.hidden, self.layers, init=uniform_start, rngs=rngs
        )
        options: dict[str, Any] = {"batch": self.batch, "order": training.in_order}
        if weights is not None:
            model = nn.load(weights, model)
        else:
            rule = training.zaremba(per, rate=self.rate, whole=self.whole)
            step = training.CarriedState(rule, self.batch, float(self.length))
            model = trainer.fit(f"{self.name} conventional", model, data, steps=self.epochs * per, step=step, **options)
        analog = nn.to_analog(
            model, None, [(ON_TILES["lstm"], tile)], injections=[training.WeightNoise(self.noise)], report=None,
            example=jax.ShapeDtypeStruct((self.batch, self.length), jnp.int32),
        )  # fmt: skip
        cosine = optax.cosine_decay_schedule(self.noise_rate, self.noise_steps)
        rule = optax.chain(
            optax.clip_by_global_norm(5.0), optax.sgd(cosine), only_on_tiles(training.clip_weights(2.5), "gates")
        )
        step = training.CarriedState(rule, self.batch, float(self.length))
        noisy = trainer.fit(f"{self.name} noise-aware", analog, data, steps=self.noise_steps, step=step, **options)
        return {"conventional": model, "noise-aware": with_parameters(model, noisy)}


WORDS = LSTMTask("ptb_lstm", 200, 2, 20, 20, 13, 1.0, 4)
CHARACTERS = LSTMTask("alice_lstm", 128, 1, 16, 100, 40, 1.0, 20, noise_rate=0.25)


# ------------------------------------------------------------------------------------------- Transformer


def transformer(
    trainer: Trainer, sentences: text.Sentences, tile: Tile, steps: int, noise_steps: int
) -> dict[str, Any]:
    """A Transformer encoder on SST-2, trained conventionally, then with noise."""
    rngs = nnx.Rngs(named(trainer.key, "transformer initial"))
    model = nn.language.TextClassifier(len(sentences.vocabulary), rngs=rngs)
    cosine = optax.warmup_cosine_decay_schedule(0.0, 1e-3, steps // 10 + 1, steps + 1)
    decayed = optax.adamw(cosine, weight_decay=0.05)
    model = trainer.fit(
        "sst2_transformer conventional", model, sentences.train, optimiser=decayed, steps=steps, batch=64
    )
    analog = nn.to_analog(
        model, None, [(ON_TILES["transformer"], tile)], injections=[training.WeightNoise(0.03)], report=None,
        example=jax.ShapeDtypeStruct((2, sentences.train[0].shape[1]), jnp.int32),
    )  # fmt: skip
    rule = optax.chain(
        optax.adamw(optax.cosine_decay_schedule(3e-4, noise_steps)), only_on_tiles(training.clip_weights(2.5), "layers")
    )
    noisy = trainer.fit(
        "sst2_transformer noise-aware", analog, sentences.train, optimiser=rule, steps=noise_steps, batch=64
    )
    return {"conventional": model, "noise-aware": with_parameters(model, noisy)}


def accuracy(net: Any, data: tuple[Array, Array]) -> Array:
    """Fraction of examples (n, …) with the right label."""
    return nn.accuracy(net, *data)
