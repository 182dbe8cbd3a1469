"""The sections of ``benchmarks/gpu.py`` with networks: Joshi et al. (2020), and training on the chip."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.gpu_sections import Log, Options, medians


def joshi2020(log: Log, options: Options) -> None:
    """Noise-aware training for as long as time allows, and chips over time before and after it.

    The network is a published one: the ResNet-20 that comes with the package, or ``--weights``.
    """
    with tempfile.TemporaryDirectory() as cache:  # the training step is traced three times, and compiled once
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        train_and_follow(log, options)


def train_and_follow(log: Log, options: Options) -> None:
    """The stages of `joshi2020`, each as long as the time that is left allows."""
    import optax
    from flax import nnx

    from crossjax import images, nn, training
    from crossjax.papers import cifar
    from crossjax.papers import joshi2020 as paper

    class Small(nnx.Module):
        """What a ResNet is made of, once each."""

        def __init__(self, rngs: nnx.Rngs) -> None:
            self.conv, self.norm = nnx.Conv(3, 4, (3, 3), rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
            self.classifier = nnx.Linear(4, 10, rngs=rngs)

        def __call__(self, x: Array) -> Array:
            return self.classifier(jnp.mean(nnx.relu(self.norm(self.conv(x))), axis=(1, 2)))

    preset, day = paper.PRESETS["paper"], 86400.0
    if options.dry:
        rng = np.random.default_rng(0)
        few = rng.integers(0, 256, (300, 32, 32, 3), np.uint8), rng.integers(0, 10, 300).astype(np.int32)
        made_up = images.Images(few, (few[0][:20], few[1][:20]))
        data = cifar.Cifar(made_up, cifar.IMPORTED, batches=1, size=20)
        model = Small(nnx.Rngs(0))
        preset = replace(preset, chips=1, steps=3, times=(25.0, day))
    else:
        data = cifar.Cifar.load(options.data, cifar.IMPORTED, preset.images)
        model = cifar.published_resnet(options.weights)
    name = options.weights.name if options.weights else "the included ResNet-20" if not options.dry else "made up"
    log.row(
        "digital network",
        network=name,
        weights=nn.models.parameters(model),
        accuracy=cifar.digital_accuracy(model, data.test),
    )
    analog = nn.to_analog(model, paper.hardware(), injections=[training.WeightNoise(paper.ETA)], report=None)

    def fit(steps: int, total: int) -> tuple[Any, float]:
        """The first steps of so many, and the seconds they took."""

        def optimiser(total: Any) -> optax.GradientTransformation:  # a traced number: one compilation for all
            return cifar.sgd(lambda n: preset.rate / 2 * (1 + jnp.cos(jnp.pi * n / total)), paper.ALPHA)

        begin = time.perf_counter()
        trained = training.fit(
            jax.random.key(0), analog, data.train, optax.inject_hyperparams(optimiser)(total=float(total)),
            steps=steps, prepare=data.pipeline.training, progress=False,
        ).model  # fmt: skip
        return trained, time.perf_counter() - begin

    few, probe = 1, 1 + options.sizes.probe
    (_, cold), (_, warm), (_, more) = fit(few, preset.steps), fit(few, preset.steps), fit(probe, preset.steps)
    step = max(more - warm, 1e-6) / (probe - few)
    log.row("training step, batch 128", ms=1e3 * step, images_s=128 / step, compile_s=cold - warm, start_s=warm)

    seconds = 0.0

    def follow(name: str, network: Any, most: float) -> None:
        """Chip after chip, while there are fewer than the paper has and less than ``most`` seconds were used."""
        nonlocal seconds
        measure, found, begin = cifar.OverTime(network, data, preset.times), [], time.perf_counter()
        for key in jax.random.split(jax.random.key(1), preset.chips):
            if len(found) > 1 and time.perf_counter() - begin + seconds > most:
                log.note(f"{name}: {len(found)} chips of {preset.chips}")
                break
            before = time.perf_counter()
            accuracies = measure(key)
            found.append(list(accuracies.values()))
            seconds = time.perf_counter() - before  # the first one's compilation, too; then the second's alone
            log.row(f"{name}, chip {len(found)}", network=name, seconds=seconds, times=list(preset.times), **accuracies)
        after = (100 * np.mean(found, axis=0)[:, preset.times.index(day)]).tolist()
        log.row(f"{name}: {len(found)} chips after a day, %", **dict(zip(cifar.COMPENSATIONS, after, strict=True)))

    follow("direct mapping", analog, log.left() / 4)
    reserve = 10 + warm + preset.chips * seconds
    steps = max(1, min(preset.steps, int(0.95 * (log.left() - reserve) / step)))
    trained, took = fit(steps, steps)
    log.row("noise-aware training", steps=steps, of=preset.steps, seconds=took, images_s=128 * steps / took)
    follow("noise-trained", trained, log.left() - 5)
    wanted = {name: value for name, value in paper.PAPER.items() if "_1d_" in name or name == "accuracy_digital"}
    log.row("the paper's ResNet-32, %", **wanted)


def in_situ(log: Log, options: Options) -> None:
    """Examples of a 528-250-125-10 network of MSP and LSP, one after the other, for one to many variants at once."""
    from flax import nnx

    from crossjax import nn, training
    from crossjax.papers import cristiano2018 as paper

    sizes, (most, examples) = paper.SIZES, options.sizes.in_situ
    sizes = (12, 4, 10) if options.dry else sizes
    x = jax.random.uniform(jax.random.key(0), (examples, sizes[0]))
    y = jax.random.randint(jax.random.key(1), (examples,), 0, 10)
    net = nn.models.BiasRowMLP(sizes, rngs=nnx.Rngs(0))
    preset = paper.PRESETS["paper"]

    def run(key: Array, spread: Array) -> Array:
        learning = paper.hardware(preset, paper.capacitor(step_spread=spread), paper.saturating())
        shape = jax.ShapeDtypeStruct((1, sizes[0]), jnp.float32)
        chips, _ = nn.program(key, nn.to_analog(net, learning, example=shape, report=None), ranges="keep", report=None)
        return training.course(key, nn.read(key, chips), (x, y), training.InSitu(0.02), epochs=1).loss

    for count in dict.fromkeys((1, max(most // 8, 1), most)):
        if not log.fits(f"{count} variants"):
            continue
        keys, spreads = jax.random.split(jax.random.key(2), count), jnp.linspace(0.0, 0.5, count)
        begin = time.perf_counter()
        many = jax.jit(jax.vmap(run)).lower(keys, spreads).compile()
        compile_s = time.perf_counter() - begin
        ms = medians(options.sizes, ours=lambda many=many, k=keys, s=spreads: many(k, s))["ours"]
        log.row(
            f"{count} variants at once, MSP/LSP, {examples} examples", ms=ms, compile_s=compile_s,
            chip_steps_s=1e3 * count * examples / ms,
        )  # fmt: skip
