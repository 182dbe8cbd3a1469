"""The programming methods side by side: the table of the README.

    python benchmarks/programming.py [--out FILE]

HERMES cores, 3 % column gain spread, ADC ranges for Gaussian inputs, one 256 × 256 Gaussian matrix (clipped at 3 σ),
16 chips, first read; "perfect" is `Exact` without gain spread. Excess: ε² − ε₀² with ε₀ the median of "perfect".
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

import crossjax as cx

CHIPS, SIZE = 16, 256


def measure(tile: cx.Tile, w: Array, method: cx.programming.Method) -> dict[str, list[float]]:
    """MVM error, pulses a weight and MVMs of reading of every chip."""

    def one(key: Array) -> tuple[Array, ...]:
        chip, history = cx.program(key, tile, w, method)
        error = cx.mvm_error(cx.keys.named(key, "error"), tile, chip, w)
        return error, history.pulses[-1] / w.size, history.mvms[-1]

    found = jax.jit(lambda keys: lax.map(one, keys))(jax.random.split(jax.random.key(0), CHIPS))
    return dict(zip(("mvm_error", "pulses", "mvms"), (np.asarray(a).tolist() for a in found), strict=True))


def main() -> None:
    """Measure, print and keep."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--out", type=Path, help="JSON file for the figures of every chip")
    given = parse.parse_args()
    w = jnp.clip(jax.random.normal(jax.random.key(1), (SIZE, SIZE)), -3, 3)
    tile = cx.typical_ranges(cx.presets.hermes(gain=0.03), w)
    even = cx.replace(tile, **{"adc.gain": None})
    found = {
        "one shot": measure(tile, w, cx.OneShot()),
        "iterative": measure(tile, w, cx.Iterative()),
        "iterative, Joshi's": measure(tile, w, cx.Iterative(tolerance=0.01, step=0.5)),
        "GDP": measure(tile, w, cx.GDP()),
        "perfect": measure(even, w, cx.Exact()),
    }
    for name, r in found.items():
        print(name, ", ".join(f"{what} {np.mean(values):.4g}" for what, values in r.items()))
    error, floor = (
        {name: np.array(r["mvm_error"]) for name, r in found.items()},
        np.median(found["perfect"]["mvm_error"]),
    )
    for name in ("iterative", "iterative, Joshi's"):
        excess = np.median((error["GDP"] ** 2 - floor**2) / (error[name] ** 2 - floor**2))
        ratio, wins = np.median(error["GDP"] / error[name]), np.mean(error["GDP"] < error[name])
        print(f"GDP over {name}: error {ratio:.2f}, excess {excess:.2f}, better on {100 * wins:.0f} % of the chips")
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
