"""``python -m benchmarks.networks [--out DIR] [--peers]``: training and evaluating networks on tiles, in one run.

Analog against digital steps of the same networks, alternating in one process, and the peers if they are installed.
The analog step has Gaussian weight noise, 8-bit DACs and ADCs, and output noise. Random images: speed only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import crossjax as cx
from crossjax import nn, report, training
from crossjax.benchmarks.peers import STEP, reason
from crossjax.cli import _keep_memory

TILE = cx.Tile(1024, 1024, dac=cx.DAC(range=1.0), adc=cx.ADC(range=10.0), noise=0.04, compensation=None)
SIZES = (784, 256, 128, 10)


class SmallResNet(nnx.Module):
    """The network of the peers' benchmark: one stage of 16 channels and one of 32."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(3, 16, (3, 3), padding=1, rngs=rngs)
        self.blocks = nnx.List([nn.models.Block(16, 16, 1, rngs=rngs), nn.models.Block(16, 32, 2, rngs=rngs)])
        self.out = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(batch, 32, 32, 3) → (batch, 10)."""
        x = nnx.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.out(jnp.mean(x, axis=(1, 2)))


def stepper(model: nnx.Module, x: jax.Array, y: jax.Array) -> tuple[Callable[[], float], float]:
    """A function that makes one step and returns its seconds, and the seconds to trace and compile it."""
    optimiser = optax.sgd(0.01, momentum=0.9)
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    step = jax.jit(training.make_step(graph, optimiser, training.cross_entropy), donate_argnums=(0, 1, 2))
    carry: Any = (params, rest, optimiser.init(params))
    key, begin = jax.random.key(0), time.perf_counter()
    compiled = step.lower(*carry, key, x, y).compile()
    seconds = time.perf_counter() - begin

    def once() -> float:
        nonlocal carry
        begin = time.perf_counter()
        carry = jax.block_until_ready(compiled(*carry, key, x, y))[:3]
        return time.perf_counter() - begin

    return once, seconds


def compare(build: Callable[[], nnx.Module], x: jax.Array, y: jax.Array, repeats: int) -> dict[str, float]:
    """Medians of alternating runs of the digital and the analog step."""
    analog = nn.to_analog(build(), TILE, injections=[training.WeightNoise(0.038)], report=None)
    steps = {"digital": stepper(build(), x, y), "analog": stepper(analog, x, y)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(5):  # A B A B …
        for name, (once, _) in steps.items():
            found = [once() for _ in range(repeats)]
            seconds[name] += found if round_ else []
    return {name: float(np.median(s)) for name, s in seconds.items()} | {"compile": steps["analog"][1]}


def evaluation(read_noise: bool, images: int = 1000, chips: int = 32, times: int = 5) -> dict[str, float]:
    """Seconds to evaluate a population of ResNet-20 chips at several times, and the digital network as often."""
    from crossjax.papers.cifar import published_resnet

    model = published_resnet(None)
    x = jax.random.normal(jax.random.key(0), (images, 32, 32, 3))
    y = jnp.zeros(images, jnp.int32)
    device = cx.devices.pcm(reset_zero=True)
    tile = cx.Tile(1024, 1024, device=device if read_noise else cx.replace(device, read=None))
    analog = nn.calibrate(
        nn.to_analog(model, cx.replace(tile, dac=cx.DAC(), adc=cx.ADC()), report=None), x[:200], percentile=99.9
    )
    model.eval()
    analog.eval()
    graph, state = nnx.split(model)
    digital = jax.jit(lambda s: nn.accuracy(nnx.merge(graph, s), x, y, 250))
    chip, _ = nn.program(jax.random.key(1), analog)
    chip_graph, chip_state = nnx.split(chip)

    def at(key: jax.Array, s: Any, t: jax.Array) -> jax.Array:
        return nn.accuracy(nn.read(key, nnx.merge(chip_graph, s), t), x, y, 250)

    # the work of `nn.evaluate`, a few of its chips and times: the others are as long
    some = jax.jit(lambda keys, s, ts: jax.lax.map(lambda a: at(a[0], s, a[1]), (keys, ts)))
    keys, ts = jax.random.split(jax.random.key(2), times), jnp.logspace(1, 7, times)
    jax.block_until_ready((digital(state), some(keys, chip_state, ts)))
    seconds: dict[str, list[float]] = {"digital": [], "chips": []}
    for _ in range(3):
        begin = time.perf_counter()
        jax.block_until_ready(digital(state))
        middle = time.perf_counter()
        jax.block_until_ready(some(keys, chip_state, ts))
        seconds["digital"].append(middle - begin)
        seconds["chips"].append((time.perf_counter() - middle) / times)
    each = {name: float(np.median(s)) for name, s in seconds.items()}
    return each | {"rate": images / each["chips"], "whole": each["chips"] * chips * times}


def peers(x: np.ndarray, y: np.ndarray, images: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """Seconds of one training step of the same networks in aihwkit-lightning."""
    import torch  # type: ignore[import-not-found]
    from aihwkit_lightning.nn.conversion import convert_to_analog  # type: ignore[import-not-found]
    from aihwkit_lightning.simulator.configs import (  # type: ignore[import-not-found]
        TorchInferenceRPUConfig,
        WeightModifierType,
    )

    torch.set_num_threads(2)
    config = TorchInferenceRPUConfig()
    config.forward.inp_res = config.forward.out_res = STEP
    config.forward.out_noise, config.forward.out_bound = 0.04, 10.0
    config.pre_post.input_range.enable = True
    config.modifier.type, config.modifier.std_dev = WeightModifierType.ADD_NORMAL, 0.038

    def block(inputs: int, outputs: int, stride: int) -> Any:
        class Block(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                conv = torch.nn.Conv2d
                self.a = conv(inputs, outputs, 3, stride, 1, bias=False)
                self.b = conv(outputs, outputs, 3, 1, 1, bias=False)
                self.na, self.nb = torch.nn.BatchNorm2d(outputs), torch.nn.BatchNorm2d(outputs)
                self.short = torch.nn.Identity()
                if stride != 1:
                    self.short = torch.nn.Sequential(
                        conv(inputs, outputs, 1, stride, bias=False), torch.nn.BatchNorm2d(outputs)
                    )

            def forward(self, x: Any) -> Any:
                h = torch.relu(self.na(self.a(x)))
                return torch.relu(self.nb(self.b(h)) + self.short(x))

        return Block()

    layers: list[Any] = []
    for a, b in pairwise(SIZES):
        layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    mlp = torch.nn.Sequential(*layers[:-1])
    resnet = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, 1, 1), torch.nn.ReLU(), block(16, 16, 1), block(16, 32, 2),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(32, 10),
    )  # fmt: skip
    found: dict[str, dict[str, float]] = {}
    for name, model, inputs, targets, repeats in (
        ("MLP", mlp, x, y, 100), ("small ResNet", resnet, images.transpose(0, 3, 1, 2), labels, 10),
    ):  # fmt: skip
        analog = convert_to_analog(model, config)
        analog.train()
        optimiser = torch.optim.SGD(analog.parameters(), lr=0.01, momentum=0.9)
        data, target = torch.tensor(inputs), torch.tensor(targets).long()
        seconds = []
        for _ in range(repeats):
            begin = time.perf_counter()
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(analog(data), target).backward()
            optimiser.step()
            seconds.append(time.perf_counter() - begin)
        found[name] = {"lightning": float(np.median(seconds[2:]))}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--force", action="store_true")
    options = parser.parse_args()
    _keep_memory()
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 128)
    flat = rng.normal(size=(128, 784)).astype(np.float32)
    images = rng.normal(size=(128, 32, 32, 3)).astype(np.float32)
    works: dict[str, tuple[Callable[[], nnx.Module], np.ndarray, int, str]] = {
        "MLP 784-256-128-10, batch 128": (lambda: nn.models.MLP(SIZES, rngs=nnx.Rngs(0)), flat, 200, "≤ 2.0×"),
        "ResNet-20, batch 128": (lambda: nn.models.ResNet(20, rngs=nnx.Rngs(0)), images, 5, "≤ 1.2×"),
        "ResNet-32, batch 128": (lambda: nn.models.ResNet(32, rngs=nnx.Rngs(0)), images, 4, "≤ 1.2×"),
        "small ResNet, batch 32": (lambda: SmallResNet(nnx.Rngs(0)), images[:32], 20, ""),
    }
    with report.open_run("networks", options.out, {"peers": options.peers}, force=options.force) as run:
        rows, found = [], {}
        for name, (build, x, repeats, wanted) in works.items():
            r = compare(build, jnp.asarray(x), jnp.asarray(y[: len(x)]), repeats)
            found[name] = r
            rows.append(
                [
                    name, f"{1e3 * r['digital']:.2f}", f"{1e3 * r['analog']:.2f}", f"{r['analog'] / r['digital']:.2f}×",
                    wanted, f"{len(x) / r['analog']:,.0f}", f"{r['compile']:.1f}",
                ]
            )  # fmt: skip
        run.table(
            "A training step: digital, and analog with weight noise, 8-bit DAC and ADC, and output noise",
            ["network", "digital, ms", "analog, ms", "ratio", "wanted", "images/s", "trace and compile, s"],
            rows,
        )
        chips = {"read noise": evaluation(True), "no read noise": evaluation(False)}
        run.table(
            "Evaluating 32 chips × 5 times of ResNet-20 on 1,000 images: PCM, drift, GDC, 8-bit DAC and ADC",
            ["noise of single MVMs", "digital, s", "one chip and time, s", "ratio", "wanted", "images·chips·times/s"],
            [
                [name, f"{r['digital']:.2f}", f"{r['chips']:.2f}", f"{r['chips'] / r['digital']:.2f}×", "≤ 2×",
                 f"{r['rate']:,.0f}"]
                for name, r in chips.items()
            ],
        )  # fmt: skip
        others: dict[str, dict[str, float]] = {}
        if options.peers:
            try:
                others = peers(flat, y, images[:32], y[:32])
            except Exception as error:
                run.table("Peers that failed", ["", "why"], [["aihwkit-lightning", reason(error)]])
        if others:
            ours = {
                "MLP": found["MLP 784-256-128-10, batch 128"]["analog"],
                "small ResNet": found["small ResNet, batch 32"]["analog"],
            }
            run.table(
                "Peers, the same analog step",
                ["network", "ours, ms", "lightning, ms", "faster"],
                [
                    [n, f"{1e3 * ours[n]:.2f}", f"{1e3 * r['lightning']:.2f}", f"{r['lightning'] / ours[n]:.1f}×"]
                    for n, r in others.items()
                ],
            )
        ratios = ", ".join(f"{name} {r['analog'] / r['digital']:.2f}" for name, r in found.items())
        run.finish(
            [], f"Training steps on tiles were timed beside digital ones. Times the digital step: {ratios}.",
            steps=found, evaluation=chips, others=others,
        )  # fmt: skip


if __name__ == "__main__":
    main()
