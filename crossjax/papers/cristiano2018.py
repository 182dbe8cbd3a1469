"""What devices must be able to do to train with conductances of varying significance.

Cristiano et al., J. Appl. Phys. 124:151901 (2018); the network and data of Burr et al., IEEE T-ED 62:3498 (2015):
528-250-125-10, biases on the chip, MNIST cropped to 22 × 24. Of the paper the abstract was read: response formulas,
grids, rates and tuning parameters are ours, so that no figure stands beside one of the paper's.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax import Array

from crossjax import insitu, nn, report, training
from crossjax._checks import check_name
from crossjax._pytree import replace
from crossjax._random import named, seeded
from crossjax.papers import in_situ_plots
from crossjax.papers.in_situ import Trained, load, mean_se, stacked, stage, tolerable
from crossjax.papers.options import Options as CommonOptions
from crossjax.pulsed import JumpingStep, Pulsed

SIZES = (528, 250, 125, 10)
FITTED = {"steps": 100.0, "jump": 0.41, "saturation": 0.9}  # at which a pair alone lands at Burr's 82 to 83 %
LINEAR = 1000.0  # steps of the less significant device
RATE, DECAY = 0.02, 0.6  # of every epoch, for 5 epochs; more epochs decay as much in all


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of one run.

    Attributes:
        images: of the training set.
        epochs: of the reference runs.
        sweep_epochs: of the sweeps.
        transfer: T, examples between two transfers.
        seeds: paired runs of every reference.
        values: of every knob.
    """

    images: int
    epochs: int
    sweep_epochs: int
    transfer: int
    seeds: int
    values: int


PRESETS = {"quick": Preset(5000, 5, 2, 500, 3, 4), "paper": Preset(60_000, 20, 20, 8000, 8, 6)}

KNOBS = {  # name: (what it is, its largest value, the field)
    "g_max_spread": ("spread of g_max among devices, relative", 0.6, "high_spread"),
    "step_spread": ("spread of Δg among devices, relative", 1.2, "step_spread"),
    "pulse_noise": ("noise of a pulse, in steps", 6.0, "noise"),
    "yield": ("working devices", 0.5, "faults"),
    "initial_jump": ("immediate steep jump, of the range", 0.8, "law.jump"),
    "delayed_jump": ("steep jump after a fifth of the range, of the range", 0.8, "law.jump"),
}


@dataclasses.dataclass(frozen=True)
class Options(CommonOptions):
    """Cristiano et al. (2018).

    Attributes:
        data: folder with MNIST (default CROSSJAX_DATA).
        images: training images, instead of the preset's number.
        epochs: of the reference runs.
        sweep_epochs: of the sweeps.
        seeds: paired runs of every reference.
        values: of every knob, 0 included.
        transfer: T, examples between two transfers.
        knobs: which are swept: g_max_spread, step_spread, pulse_noise, yield, initial_jump, delayed_jump.
        tuning: sweep closed-loop tuning, too: rounds and tolerance.
        batch: runs at a time; a CPU gains nothing from more than one, a GPU much.
    """

    data: Path | None = None
    images: int | None = None
    epochs: int | None = None
    sweep_epochs: int | None = None
    seeds: int | None = None
    values: int | None = None
    transfer: int | None = None
    knobs: tuple[str, ...] = ("step_spread", "yield")
    tuning: bool = False
    batch: int = 1


def reproduce(options: Options) -> Path:
    """Run the experiment; returns the folder with its results. An interrupted run resumes.

    Raises:
        ValueError: for an unknown preset or knob, or numbers out of range.
        FileNotFoundError: if MNIST is not there.
    """
    key, size = seeded(options.seed), options.sized(PRESETS)
    for knob in options.knobs:
        check_name(knob, tuple(KNOBS), "knob")
    if (
        min(size.images, size.epochs, size.sweep_epochs, size.transfer, size.seeds, options.batch) < 1
        or size.values < 2
    ):
        raise ValueError(
            "images, epochs, sweep_epochs, transfer, seeds and batch must be at least 1, values at least 2"
        )
    data = load(options.data, rows=slice(3, 25), cols=slice(2, 26), count=size.images)
    with report.open_run("cristiano2018", options.out, options.inputs(size), force=options.force) as run:
        runs = Runs(run, key, size, options, data)
        references = runs.references()
        asymmetry = runs.asymmetry()
        sweeps = {f"{part} {knob}": runs.sweep(part, knob) for knob in options.knobs for part in ("lsp", "msp")}
        tuned = runs.tuning() if options.tuning else {}
        in_situ_plots.cristiano(run, references, asymmetry, sweeps, tuned, size)
        return run.finish(
            figures(references, asymmetry, sweeps),
            "A perceptron was trained on its chip by MSP/LSP with polarity inversion, on MNIST, beside software and "
            "other devices. Software has {accuracy_software:.2f} %, linear devices {accuracy_ideal:.2f} %, MSP/LSP "
            "{accuracy_msp_lsp:.2f} % and the pairs of its MSP alone {accuracy_single_pair:.2f} %.",
            references=references, asymmetry=asymmetry, sweeps=sweeps,
            tuning=tuned,
        )  # fmt: skip


# -------------------------------------------------------------------------------------------------- hardware


def saturating(steps: float = FITTED["steps"], jump: float = FITTED["jump"], **more: Any) -> Pulsed:
    """The device of the pair: conductances in 0 to 1 that rise steeply, then saturate; see `FITTED`."""
    law = JumpingStep(jump=jump, saturation=FITTED["saturation"])
    return replace(Pulsed(law, step=1.0 / steps, low=0.0), **more)


def capacitor(**more: Any) -> Pulsed:
    """The less significant device: linear and symmetric, of `LINEAR` steps."""
    return replace(Pulsed(step=1.0 / LINEAR, low=0.0), **more)


def hardware(size: Preset, lower: Pulsed, upper: Pulsed, *, invert: bool = True, **tuning: Any) -> nn.Learning:
    """MSP and LSP: pairs that are tuned in closed loop, and capacitors against a shared reference."""
    scheme = insitu.Significance(
        insitu.Tuned(insitu.OneSided(upper, high=1.0), **tuning),
        insitu.Against(lower),
        3.0,
        size.transfer,
        invert,
        insitu.Trains(),
    )
    return nn.Learning(scheme, scale=1.0)


def references_of(size: Preset) -> dict[str, nn.Learning]:
    """The hardware of the reference runs."""
    exact = insitu.PulsedSGD(insitu.Single(Pulsed(step=0.0005)), insitu.Expected())
    ideal = insitu.PulsedSGD(insitu.Single(Pulsed(step=0.001)))
    alone = insitu.PulsedSGD(insitu.OneSided(saturating()), every=100)
    return {
        "software": nn.Learning(exact, scale=1.0),
        "ideal": nn.Learning(ideal, scale=1.0),
        "single_pair": nn.Learning(alone, scale=1.0),
        "msp_lsp": hardware(size, capacitor(), saturating()),
    }


# ------------------------------------------------------------------------------------------------------ runs


class Runs:
    """All runs of the experiment, each a stage; variants of one structure share a program."""

    def __init__(self, run: report.Run, key: Array, size: Preset, options: Options, data: Any) -> None:
        self.run, self.key, self.size, self.options = run, named(key, "seeds"), size, options
        flat: Any = tuple((x.reshape(len(x), -1), y) for x, y in data)
        self.trained = {
            epochs: Trained(_network, flat, training.InSitu(Schedule(size.images, epochs)))
            for epochs in {size.epochs, size.sweep_epochs}
        }

    def of(self, name: str, variants: Sequence[nn.Learning], epochs: int, seeds: int, **how: Any) -> dict[str, Any]:
        """Accuracies in % of variants (variants, seeds, epochs), computed once."""
        report.say(f"{name}: {len(variants)} × {seeds} runs of {epochs} epochs")

        def compute() -> Mapping[str, np.ndarray]:
            found = self.trained[epochs].runs(
                self.key, stacked(variants), seeds, epochs, batch=self.options.batch, **how
            )
            return {k: 100.0 * v if "pulses" not in k else v for k, v in found.items()}

        return stage(self.run, name, compute)

    def references(self) -> dict[str, Any]:
        """Software, ideal devices, a pair alone and MSP/LSP, with the pulses of the last two."""
        found = {}
        for name, learning in references_of(self.size).items():
            counted = name in ("single_pair", "msp_lsp")
            learning = dataclasses.replace(learning, count=counted)
            result = self.of(f"reference {name}", [learning], self.size.epochs, self.size.seeds, counted=counted)
            found[name] = {k: v[0].tolist() for k, v in result.items()}
        return found

    def asymmetry(self) -> dict[str, Any]:
        """LSP asymmetry of 0, 25 and 50 %, the same for all or spread, with and without polarity inversion."""
        values = np.linspace(0.0, 0.5, 3)
        found: dict[str, Any] = {"values": values.tolist()}
        for kind, field in (("fixed", "asymmetry"), ("spread", "asymmetry_spread")):
            for invert in (True, False):
                variants = [
                    hardware(self.size, capacitor(**{field: float(v)}), saturating(), invert=invert) for v in values
                ]
                name = f"{kind} {'inverted' if invert else 'not inverted'}"
                result = self.of(f"asymmetry {name}", variants, self.size.sweep_epochs, self.size.seeds)
                found[name] = result["test"][..., -1].tolist()
        return found

    def sweep(self, part: str, knob: str) -> dict[str, Any]:
        """One knob of one part, from 0 on."""
        what, largest, field = KNOBS[knob]
        values = np.linspace(0.0, largest, self.size.values)

        def changed(value: float) -> nn.Learning:
            more = {field: float(value)} | ({"law.delay": 0.2} if knob == "delayed_jump" else {})
            lower, upper = capacitor(), saturating()
            if knob.endswith("jump"):
                lower = replace(lower, law=JumpingStep())
            lower, upper = (replace(lower, **more), upper) if part == "lsp" else (lower, replace(upper, **more))
            return hardware(self.size, lower, upper)

        result = self.of(f"sweep {part} {knob}", [changed(v) for v in values], self.size.sweep_epochs, self.size.seeds)
        accuracy = result["test"][..., -1]
        shown = 1.0 - values if knob == "yield" else values
        return {
            "what": what, "values": shown.tolist(), "accuracy": accuracy.tolist(),
            "tolerable": tolerable(shown, accuracy.mean(1), float(accuracy[0].mean())),
        }  # fmt: skip

    def tuning(self) -> dict[str, Any]:
        """Closed-loop tuning: its rounds, and the tolerance that it stops at; read noise of half a step."""
        found: dict[str, Any] = {}
        for rounds in (1, 3, 10, 30):
            learning = hardware(self.size, capacitor(), saturating(), rounds=rounds, read_noise=0.01)
            result = self.of(f"tuning {rounds} rounds", [learning], self.size.sweep_epochs, self.size.seeds)
            found[f"{rounds} rounds"] = result["test"][0, :, -1].tolist()
        tolerances = (0.002, 0.01, 0.05)
        variants = [hardware(self.size, capacitor(), saturating(), tolerance=t, read_noise=0.01) for t in tolerances]
        result = self.of("tuning tolerance", variants, self.size.sweep_epochs, self.size.seeds)
        return found | {f"tolerance {t}": a.tolist() for t, a in zip(tolerances, result["test"][..., -1], strict=True)}


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The learning rate, falling geometrically to `DECAY`⁴ of `RATE` in the last epoch."""

    images: int
    epochs: int

    def __call__(self, n: Any) -> Any:
        """After ``n`` examples."""
        return RATE * DECAY ** (4.0 * n / self.images / max(self.epochs - 1, 1))


def _network(rngs: Any) -> nn.models.BiasRowMLP:
    return nn.models.BiasRowMLP(SIZES, rngs=rngs)


# --------------------------------------------------------------------------------------------------- results


def recovered(asymmetry: Mapping[str, Any]) -> float | None:
    """Share of what a fixed asymmetry costs that polarity inversion gives back, at the largest one that costs 1 point.

    None where it never costs as much.
    """
    plain, turned = (np.asarray(asymmetry[f"fixed {how}"]).mean(1) for how in ("not inverted", "inverted"))
    lost = plain[0] - plain
    if lost[-1] < 1.0:
        return None
    return float((turned[-1] - plain[-1]) / lost[-1])


def figures(references: Mapping[str, Any], asymmetry: Mapping[str, Any], sweeps: Mapping[str, Any]) -> list[dict]:
    """Entries of result.json."""
    out = [
        report.figure(f"accuracy_{name}", mean_se(np.asarray(found["test"])[:, -1])[0], unit="%")
        for name, found in references.items()
    ]
    share = recovered(asymmetry)
    out.append({"name": "polarity_recovered", "paper": None, "ours": share, "unit": ""})
    for part, knob in itertools.product(("lsp", "msp"), KNOBS):
        ours, unit = None, "not swept"
        if f"{part} {knob}" in sweeps:
            ours = sweeps[f"{part} {knob}"]["tolerable"]
            unit = "all that was tried" if ours is None else ""
        out.append({"name": f"tolerable_{part}_{knob}", "paper": None, "ours": ours, "unit": unit})
    return out
