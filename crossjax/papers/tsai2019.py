"""LSTM inference with four PCM devices a weight, programmed row by row in closed loop.

Tsai et al., VLSI 2019 (2.5 million devices); the tuning is that of Narayanan et al., IEEE T-ED 68:6629 (2021). A
character LSTM on Alice in Wonderland and a word LSTM on Penn Treebank, their gates on chips, embeddings and output
layers digital. Of both papers the abstracts were read: sizes of the networks, factors of the tuning and the periphery
are ours, the devices the published statistics of 90 nm PCM (Joshi 2020) under a write model of ours.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from crossjax import nn, plot, programming, report, text
from crossjax._random import named, numbered, seeded
from crossjax.nn.walk import layers, matrices
from crossjax.papers import language, tuning_study
from crossjax.papers.language import ON_TILES, TextOptions, Trainer
from crossjax.papers.tuning_study import CLOSED, hardware
from crossjax.programming import Method

METHODS: dict[str, Method] = {"closed loop": CLOSED, "open loop": programming.OpenLoop()}


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of one run.

    Attributes:
        epochs: of the word LSTM.
        character_epochs: of the character LSTM.
        noise_steps: of the noise-aware training that follows.
        tokens: of Penn Treebank's test text.
        seeds: chips.
    """

    epochs: int
    character_epochs: int
    noise_steps: int
    tokens: int
    seeds: int


PRESETS = {"quick": Preset(2, 12, 200, 10_000, 2), "paper": Preset(13, 40, 2323, 82_430, 10)}
CUT = {
    "quick": "the word LSTM after 2 epochs of 13, the character LSTM after 12 of 40, 10,000 test words, 2 chips",
    "paper": "nothing",
}


@dataclasses.dataclass(frozen=True)
class Options(TextOptions):
    """Tsai et al. (2019).

    Attributes:
        networks: train and programme the two LSTMs; without them only matrices are tuned.
    """

    networks: bool = True


def reproduce(options: Options) -> Path:
    """Run the experiment; returns the folder with its results. An interrupted run resumes.

    Raises:
        ValueError: for an unknown preset, or numbers out of range.
        FileNotFoundError: if a data set is not there.
        FloatingPointError: if training diverges.
    """
    key, size = seeded(options.seed), options.sized(PRESETS)
    corpora = {}
    if options.networks:
        corpora = {"alice": text.alice(options.data), "ptb": text.penn_treebank(options.data)}
    with report.open_run(
        "tsai2019", options.out, options.inputs(size, cut=options.cut(CUT)), force=options.force
    ) as run:
        found: dict[str, Any] = {}
        trained = None
        if options.networks:
            models = train(run, key, size, corpora, options.word_model)
            trained = np.concatenate([w.ravel() for w in _gates(models["ptb"]["noise-aware"])])
            found = {name: measured(run, key, name, models[name], corpora[name], size) for name in models}
        studied = tuning_study.study(run, key, trained)
        tuning_study.write(run, studied)
        if found:
            write(run, found)
        said = (
            "Weights were tuned row by row in closed loop on four phase-change devices each, and LSTMs programmed so. "
            "{fraction_within_tolerance_gaussian:.1%} of Gaussian weights end within tolerance"
        )
        if found:
            said += (
                "; the word LSTM on chips has {programmed_over_software_ptb:.3f} times the cross-entropy of the "
                "conventional one in software, the character LSTM {programmed_over_software_alice:.3f} times"
            )
        return run.finish(tuning_study.figures(studied) + figures(found), said + ".", networks=found, study=studied)


def train(
    run: report.Run, key: Array, size: Preset, corpora: Mapping[str, text.Corpus], weights: Path | None
) -> dict[str, dict[str, Any]]:
    """Both LSTMs, conventionally and with noise; the word LSTM is left in the results."""
    trainer, tile = Trainer(run, key), hardware()
    characters = dataclasses.replace(
        language.CHARACTERS, epochs=size.character_epochs, whole=2 * size.character_epochs // 3
    )
    words = dataclasses.replace(language.WORDS, epochs=size.epochs, noise_steps=size.noise_steps)
    models = {
        "alice": characters.train(trainer, corpora["alice"], tile),
        "ptb": words.train(trainer, corpora["ptb"], tile, weights),
    }
    nn.save(run.results / "ptb_lstm.safetensors", models["ptb"]["conventional"])
    return models


def _gates(model: Any) -> list[np.ndarray]:
    analog = on_tiles(model)
    return [np.asarray(matrices(layer, op))[0] for _, layer, op in layers(analog)]


def on_tiles(model: Any) -> Any:
    """An LSTM with its gates on tiles."""
    example = jax.ShapeDtypeStruct((2, 4), jnp.int32)
    analog = nn.to_analog(model, None, [(ON_TILES["lstm"], hardware())], example=example, report=None)
    analog.eval()
    return analog


def measured(
    run: report.Run, key: Array, name: str, models: Mapping[str, Any], corpus: text.Corpus, size: Preset
) -> dict[str, Any]:
    """Cross-entropies of one LSTM, software and programmed, and what its programming took."""
    tokens = corpus.test[: size.tokens + 10]
    windows = language.as_windows(tokens, 10, min(100, len(tokens) // 10 - 1))
    software = {
        training: run.stage(f"{name} {training}", lambda m=model: {"it": _digital(m, windows)})["it"]
        for training, model in models.items()
    }
    analog = on_tiles(models["noise-aware"])
    found: dict[str, Any] = {"software": software, "programmed": {}}
    for how, method in METHODS.items():
        chips = Programmed(analog, method)
        stages = [
            run.stage(f"{name} {how} {n}", lambda n=n, c=chips: c(numbered(named(key, name), n), windows))
            for n in range(size.seeds)
        ]
        found["programmed"][how] = stages
    if name == "alice":
        found["sequence"] = run.stage("sequence", lambda: sequence(key, models, analog, corpus))
    return found


def _digital(model: Any, windows: tuple[Array, Array]) -> float:
    graph, state = nnx.split(model)
    return float(jax.jit(lambda s, w: language.mean_loss(nnx.merge(graph, s), w))(state, windows))


class Programmed:
    """An LSTM on one chip: ``__call__`` programs it and measures its cross-entropy at the first read."""

    def __init__(self, analog: Any, method: Method) -> None:
        tuned, _ = nn.convert.with_typical_ranges(analog)
        graph, self.state = nnx.split(tuned)
        sizes = [matrices(layer, op).shape[1:] for _, layer, op in layers(analog)]
        self.devices = sum(hardware().devices_for((r, c)) for r, c in sizes)

        def made(key: Array, state: Any) -> tuple[Any, Any]:
            net = nnx.merge(graph, state, copy=True)
            return nn.program(named(key, "program"), net, method, ranges="keep", report=None)

        def programme(key: Array, state: Any) -> tuple[Any, Any]:
            chip, history = made(key, state)
            return nnx.split(chip)[1], {n: (h.converged[-1], h.weight_error[-1]) for n, h in history.items()}

        chip, _ = jax.eval_shape(made, jax.random.key(0), self.state)
        self.graph = nnx.graphdef(chip)
        self.programme = jax.jit(programme)
        self.measure = jax.jit(
            lambda key, state, w: language.mean_loss(nn.read(key, nnx.merge(self.graph, state, copy=True), 0.0), w)
        )

    def program(self, key: Array) -> tuple[Any, dict[str, Any]]:
        """The chip's state, and what programming took."""
        begin = time.perf_counter()
        state, reached = jax.block_until_ready(self.programme(key, self.state))
        seconds = time.perf_counter() - begin
        facts = {n: {"converged": float(a), "weight_error": float(b)} for n, (a, b) in reached.items()}
        return state, {"seconds": seconds, "devices": self.devices, "layers": facts}

    def __call__(self, key: Array, windows: tuple[Array, Array]) -> dict[str, Any]:
        """Cross-entropy (nats a token), devices, and seconds of programming, which include compiling once."""
        state, facts = self.program(key)
        return {"loss": float(self.measure(named(key, "read"), state, windows)), **facts}


def sequence(key: Array, models: Mapping[str, Any], analog: Any, corpus: text.Corpus) -> dict[str, list[float]]:
    """Running cross-entropy over 10,000 characters in one go, the state carried on: software and programmed."""
    run = np.concatenate([corpus.valid, corpus.test])[:10_001]
    windows = language.as_windows(run, 1, 100)
    chips = Programmed(analog, CLOSED)
    state, _ = chips.program(named(key, "sequence"))
    net = nn.read(named(key, "sequence read"), nnx.merge(chips.graph, state), 0.0)
    nets = {"software": models["conventional"], "programmed": net}
    found = {}
    for name, one in nets.items():
        graph, numbers = nnx.split(one)
        losses = jax.jit(lambda s, w, g=graph: language.running_loss(nnx.merge(g, s), w))(numbers, windows)
        found[name] = (np.cumsum(losses) / np.arange(1, len(losses) + 1)).tolist()
    return found


# ------------------------------------------------------------------------------------------------- results


def programmed(found: Mapping[str, Any], how: str = "closed loop") -> float:
    """Mean cross-entropy of the chips."""
    return float(np.mean([r["loss"] for r in found["programmed"][how]]))


def figures(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries of result.json."""
    out = []
    for name, results in found.items():
        software = results["software"]["conventional"]
        out.append(report.figure(f"cross_entropy_software_{name}", software, unit="nats"))
        out.append(report.figure(f"cross_entropy_programmed_{name}", programmed(results), unit="nats"))
        out.append(report.figure(f"programmed_over_software_{name}", programmed(results) / software))
    if found:
        closed = found["ptb"]["programmed"]["closed loop"]
        out.append(report.figure("devices", closed[0]["devices"], paper=2.5e6))
        out.append(report.figure("devices_seconds", closed[-1]["seconds"], unit="s"))
        out.append(report.figure("devices_seconds_with_compilation", closed[0]["seconds"], unit="s"))
    return out


def write(run: report.Run, found: Mapping[str, Any]) -> None:
    """Table and figure of the networks."""
    run.table(
        "Cross-entropy in nats a token; gates on chips, embedding and output layer digital",
        ["network", "software", "noise-trained, software", *METHODS, "closed / software", "devices", "s"],
        [
            [
                name, f"{r['software']['conventional']:.4f}", f"{r['software']['noise-aware']:.4f}",
                *(report.mean_sd([c["loss"] for c in r["programmed"][how]]) for how in METHODS),
                f"{programmed(r) / r['software']['conventional']:.4f}",
                f"{r['programmed']['closed loop'][0]['devices']:,}",
                f"{r['programmed']['closed loop'][-1]['seconds']:.1f}",
            ]
            for name, r in found.items()
        ],
    )  # fmt: skip
    curves = found["alice"]["sequence"]
    run.csv("sequence", {"characters": [100 * (k + 1) for k in range(len(curves["software"]))], **curves})
    figure, (axis,) = plot.new(1)
    for name, losses in curves.items():
        axis.plot(100 * np.arange(1, len(losses) + 1), losses, label=name)
    axis.set(
        xlabel="characters in one sequence", ylabel="running cross-entropy (nats)", title="Alice, state carried on"
    )
    axis.legend()
    run.plot(
        "sequence", figure,
        "Cross-entropy over one long sequence, mean up to each character, on a chip and in software (digital): errors "
        "would add up here if they did.",
    )  # fmt: skip
