"""``python -m benchmarks.tiki_taka [--out DIR]``: what is left of the error when updates meet imperfect references.

After Fig. 4 of Rasch et al., Nat. Commun. 15:7133 (2024), of which the caption was read: the standard deviation of
converged weights from their target, against the spread σ_r of the references of the fast array and the number of
states of its devices, for plain pulsed SGD, Tiki-Taka v2, chopped v2 and AGAD. The task is ours: a linear layer of
8 × 32 weights, Gaussian inputs, errors with noise, 20,000 examples, three seeds; soft bounds; the slow array has 1,000
states. SGD updates the devices of the fast array themselves. Every method has the rate (and granularity, of the
thresholds that its transfers must pass) that is best for so many states, as another seed finds, over all σ_r.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from crossjax import insitu, plot, pulsed, report
from crossjax._random import named, normal, numbered

SHAPE, EXAMPLES, NOISE = (8, 32), 20_000, 0.3
OFFSETS, STATES, SEEDS = (0.0, 0.05, 0.1, 0.2, 0.4), (20.0, 80.0, 320.0), 3
COLOURS = {"SGD": "#8c8c8c", "v2": "#d1752a", "chopped": "#4f8f4f", "agad": "#1f6fb4"}
RATES = {
    "SGD": [(r, 1.0) for r in (0.0003, 0.001, 0.003, 0.01, 0.03)]
}  # (rate, granularity), of which the best is taken
OTHERS = [(r, g) for r in (0.02, 0.1, 0.5, 2.0) for g in (10.0, 50.0, 200.0)]


def scheme(kind: str, offset: Any, states: Any, granularity: Any) -> Any:
    """Hardware of a kind."""
    fast = pulsed.Pulsed(pulsed.soft_bounds(), step=2.0 / states, noise=0.3, step_spread=0.3, reference_spread=offset)
    if kind == "SGD":
        return insitu.PulsedSGD(insitu.Single(fast))
    slow = pulsed.Pulsed(pulsed.soft_bounds(), step=0.002, noise=0.3, step_spread=0.3)
    return insitu.TikiTaka(kind, insitu.Single(fast), insitu.Single(slow), 0.5, granularity=granularity, chop=0.1)


def residue(kind: str, key: Array, offset: Any, states: Any, rate: Any, granularity: Any) -> Array:
    """Standard deviation of the weights from their target over the last tenth of the examples."""
    trained = scheme(kind, offset, states, granularity)
    goal = 0.3 * normal(named(key, "goal"), SHAPE)

    def step(carry: Any, n: Array) -> tuple[Any, Array]:
        k = numbered(named(key, "step"), n)
        x = normal(named(k, "x"), SHAPE[:1])
        d = x @ (goal - trained.weights(carry)) + NOISE * normal(named(k, "noise"), SHAPE[1:])
        carry = trained.update(named(k, "update"), carry, x[None], d[None], rate, n)
        return carry, jnp.mean((trained.weights(carry) - goal) ** 2)

    begin = trained.start(named(key, "devices"), jnp.zeros(SHAPE))
    errors = lax.scan(step, begin, jnp.arange(EXAMPLES))[1]
    return jnp.sqrt(jnp.mean(errors[-EXAMPLES // 10 :]))


def residues(kind: str, keys: Array, settings: Array) -> np.ndarray:
    """Of every offset, number of states and key, at settings (states, 2) of that number: (offsets, states, keys)."""
    points = jnp.meshgrid(jnp.asarray(OFFSETS), jnp.arange(len(STATES)), indexing="ij")

    def at(point: tuple[Array, Array]) -> Array:
        rate, granularity = settings[point[1]]
        one = lambda k: residue(kind, k, point[0], jnp.asarray(STATES)[point[1]], rate, granularity)  # noqa: E731
        return jax.vmap(one)(keys)

    runs = jax.jit(lambda *p: lax.map(at, p))(*(p.ravel() for p in points))
    return np.asarray(runs).reshape(len(OFFSETS), len(STATES), len(keys))


def best(kind: str, key: Array) -> np.ndarray:
    """The setting with the least residue of every number of states, (states, 2)."""
    tried = np.asarray(RATES.get(kind, OTHERS))
    alike = [jnp.broadcast_to(s, (len(STATES), 2)) for s in jnp.asarray(tried)]
    left = np.stack([residues(kind, key[None], s).mean((0, 2)) for s in alike])
    return tried[np.argmin(left, axis=0)]


def main() -> None:
    """Print a table, and write it with a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    keys = jax.random.split(jax.random.key(0), SEEDS)
    found, settings = {}, {}
    for kind in COLOURS:
        settings[kind] = best(kind, jax.random.key(1))
        found[kind] = residues(kind, keys, jnp.asarray(settings[kind]))
        for n, count in enumerate(STATES):
            line = "  ".join(f"{m:.4f}" for m in found[kind][:, n].mean(-1))
            print(f"{kind:8} {count:4.0f} states, at {settings[kind][n]}, offsets {OFFSETS}: {line}", flush=True)
    figure, axes = plot.new(len(STATES))
    for n, axis in enumerate(axes):
        for kind, colour in COLOURS.items():
            runs = found[kind][:, n]
            axis.errorbar(OFFSETS, runs.mean(-1), runs.std(-1, ddof=1), color=colour, label=kind, capsize=2, marker="o")
        axis.set(
            xlabel="spread of references σ_r", ylabel="SD of weights", title=f"{STATES[n]:.0f} states", yscale="log",
            ylim=(0.01, 0.4),
        )  # fmt: skip
    axes[0].legend()
    chosen.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(chosen.out / "tiki-taka.png", dpi=110)
    result = {"versions": report.versions(), "device": report.device(), "offsets": OFFSETS, "states": STATES}
    result |= {"residue": {kind: a.tolist() for kind, a in found.items()}}
    result |= {"rate and granularity": {kind: a.tolist() for kind, a in settings.items()}}
    (chosen.out / "tiki-taka.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
