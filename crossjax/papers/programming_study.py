"""What makes programming hard, one thing at a time: the study of Büchel et al. (2022), on one Gaussian matrix.

MVM error of program-and-verify and GDP at the first read, against the bits and the range of the ADC while programming,
with and without gain spread, 1/f noise and resistive lines. In use the ADC is always the same. Program-and-verify
appears twice: with verify reads that count for as long as they must, and with reads as short and coarse as an MVM.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

import crossjax as cx
from crossjax import plot, report
from crossjax.programming import Method

SIZE, WIRED, CHIPS = 128, 32, 4
BITS, RANGES = (3, 4, 5, 6, 8), (1.0, 2.0, 4.0, 5.6)  # ranges in units of the calibrated one
METHODS: dict[str, Method] = {
    "iterative": cx.Iterative(), "iterative, short reads": cx.Iterative(integration=1.0), "gdp": cx.GDP(),
}  # fmt: skip


def study(key: Array) -> dict[str, Any]:
    """MVM errors (chips,), pulses a weight, MVMs and reads a weight of every case and method."""
    w = jnp.clip(jax.random.normal(jax.random.key(0), (SIZE, SIZE)), -3, 3)
    use = cx.typical_ranges(cx.replace(cx.presets.hermes(gain=0.03), **{"adc.levels": None, "adc.bits": 8}), w)
    assert use.adc is not None
    cases = {f"{b} bit": (cx.replace(use, **{"adc.bits": b}), use, w) for b in BITS}
    cases |= {
        f"range x {r:g}": (cx.replace(use, adc=cx.replace(use.adc, range=use.adc.range * r)), use, w)
        for r in RANGES[1:]
    }
    for label, change in (("equal gains", {"adc.gain": None}), ("no 1/f noise", {"device.flicker": None})):
        other = cx.replace(use, **change)
        cases[label] = (other, other, w)
    small = w[:WIRED, :WIRED]
    for label, wires in (("32 x 32", None), ("32 x 32, 10 ohm a segment", cx.Wires(10.0, 10.0))):
        tile = cx.typical_ranges(cx.replace(use, rows=WIRED, cols=WIRED, wires=wires), small)
        cases[label] = (tile, tile, small)
    return {
        label: {name: measure(key, *case, how) for name, how in METHODS.items()}
        | {"perfect": measure(key, case[1], case[1], case[2], cx.Exact())}
        for label, case in cases.items()
    }


def measure(key: Array, tile: cx.Tile, use: cx.Tile, w: Array, how: Method) -> dict[str, Any]:
    """Errors of a population programmed on ``tile`` and used on ``use``."""

    @jax.jit
    def one(k: Array) -> tuple[Array, ...]:
        chip, history = cx.program(k, tile, w, how)
        error = cx.mvm_error(jax.random.fold_in(k, 1), use, chip, w)
        return error, *(a[-1] / w.size for a in (history.pulses, history.mvms * w.size, history.reads))

    found = lax.map(one, jax.random.split(key, CHIPS))
    return dict(zip(("mvm_error", "pulses", "mvms", "reads"), (np.asarray(a).tolist() for a in found), strict=True))


def write(run: report.Run, found: dict[str, Any]) -> None:
    """Table, CSV and figure."""
    cells = [(case, name, r) for case, by_method in found.items() for name, r in by_method.items()]
    run.table(
        f"One {SIZE} x {SIZE} Gaussian matrix, {CHIPS} chips: MVM error by what is different while programming",
        ["case", "method", "MVM error", "pulses a weight", "MVMs", "reads a weight"],
        [
            [case, _label(name), report.mean_sd(r["mvm_error"]), *(f"{np.mean(r[k]):,.3g}" for k in ("pulses", "mvms")),
             f"{np.mean(r['reads']):.0f}"]
            for case, name, r in cells
        ],
    )  # fmt: skip
    run.csv(
        "programming_study",
        {"case": [c for c, *_ in cells], "method": [n for _, n, _ in cells]}
        | report.columns({k: [r[k] for *_, r in cells] for k in ("mvm_error", "pulses", "mvms", "reads")}),
    )
    figure, axes = plot.new(3)
    ranges = {r: "8 bit" if r == 1.0 else f"range x {r:g}" for r in RANGES}
    others = [case for case in found if not case.endswith("bit") and not case.startswith("range")]
    for k, name in enumerate((*METHODS, "perfect")):
        style: Any = {"color": plot.COLOURS.get(name.split(",")[0], "k"), "label": _label(name)}
        line: Any = style | {"ls": "--" if "short" in name else ":" if name == "perfect" else "-"}
        axes[0].plot(BITS, [np.mean(found[f"{b} bit"][name]["mvm_error"]) for b in BITS], marker="o", **line)
        axes[1].plot(RANGES, [np.mean(found[c][name]["mvm_error"]) for c in ranges.values()], marker="o", **line)
        values = [np.mean(found[c][name]["mvm_error"]) for c in others]
        axes[2].barh(np.arange(len(others)) + 0.2 * k, values, 0.2, alpha=0.5 if "short" in name else 1.0, **style)
    axes[0].set(
        xlabel="bits of the ADC while programming", ylabel="MVM error in use", title="Resolution", ylim=(0, None)
    )
    axes[1].set(xlabel="its range / calibrated range", ylabel="MVM error in use", title="Range", ylim=(0, None))
    axes[2].set_yticks(np.arange(len(others)) + 0.3, others, fontsize=8)
    axes[2].invert_yaxis()
    axes[2].set(xlabel="MVM error", title="What else there is")
    axes[0].legend()
    run.plot(
        "programming_study", figure,
        "MVM error of a 128 × 128 Gaussian matrix in use, by the ADC that it was programmed through: bits, range, and "
        "what else differs; dotted perfect weights.",
    )  # fmt: skip


def _label(name: str) -> str:
    return "perfect weights" if name == "perfect" else name.replace("gdp", "GDP")
