"""``python -m benchmarks.language [--out FILE]``: steps of a word LSTM on tiles against the digital one, in one run.

Hidden 200 × 2, 35 words, batch 20: the whole model with its 10,000-word embedding and output layer, which stay digital,
and the LSTM layers alone. On tiles: ideal ones, ones with weight noise, 8-bit converters and output noise, and a
programmed chip's forward pass.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import crossjax as cx
from crossjax import nn, report, training
from crossjax.training.steps import on_batch

BATCH, LENGTH, HIDDEN, WORDS = 20, 35, 200, 10_000
PLAIN = cx.Tile(512, 512, compensation=None)
NOISY = cx.Tile(512, 512, dac=cx.DAC(range=1.0), adc=cx.ADC(range=10.0), noise=0.04, compensation=None)


def networks() -> dict[str, Any]:
    """The same model, digital and on tiles."""
    model = nn.language.LanguageModel(WORDS, HIDDEN, 2, rngs=nnx.Rngs(0))
    example = jax.ShapeDtypeStruct((BATCH, LENGTH), jnp.int32)

    def on(tile: cx.Tile, **options: Any) -> Any:
        return nn.to_analog(model, None, [(".*gates", tile)], example=example, report=None, **options)

    return {
        "digital": model, "ideal tiles": on(PLAIN),
        "weight noise": on(PLAIN, injections=[training.WeightNoise(0.04)]),
        "weight noise, converters, output noise": on(NOISY, injections=[training.WeightNoise(0.04)]),
    }  # fmt: skip


def whole(model: Any) -> Callable[[], Any]:
    """A training step of the whole model."""
    step = training.CarriedState(training.zaremba(1000), BATCH, float(LENGTH))
    x = jax.random.randint(jax.random.key(0), (BATCH, LENGTH), 0, WORDS)
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    state, run = step.init(model), jax.jit(on_batch(graph, step, None))
    return lambda: run(params, rest, state, jax.random.key(1), x, x)


def layers(model: Any) -> Callable[[], Any]:
    """The value and gradient of the LSTM layers alone."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    x = jax.random.normal(jax.random.key(0), (BATCH, LENGTH, HIDDEN))

    def loss(params: Any, x: jax.Array) -> jax.Array:
        net = nnx.merge(graph, params, rest, copy=True)
        for layer, state in zip(net.layers, net.start(BATCH), strict=True):
            x, _ = layer(x, state)
        return jnp.sum(x * x)

    run = jax.jit(jax.value_and_grad(loss))
    return lambda: run(params, x)


def alternating(runs: dict[str, Callable[[], Any]], rounds: int = 9) -> dict[str, float]:
    """Median seconds of each, taken in turns, after one that compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for n in range(rounds + 1):
        for name, run in runs.items():
            begin = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name] += [time.perf_counter() - begin] if n else []
    return {name: float(np.median(s)) for name, s in seconds.items()}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/language.json"))
    out = parser.parse_args().out
    models = networks()
    found = {
        "whole model": alternating({name: whole(m) for name, m in models.items()}),
        "LSTM layers": alternating({name: layers(m) for name, m in models.items()}),
    }
    for what, seconds in found.items():
        for name, s in seconds.items():
            print(f"{what:12} {name:40} {1e3 * s:8.1f} ms   {s / seconds['digital']:.2f} x")
    out.write_text(
        json.dumps({"seconds": found, "versions": report.versions(), "device": report.device()}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
