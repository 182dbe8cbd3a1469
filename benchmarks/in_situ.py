"""``python -m benchmarks.in_situ [--out FILE]``: the update of one array by pulses, alone and beside aihwkit's.

256 × 256 devices, 32 examples one after the other by stochastic trains, x and δ Gaussian, the same vectors and rate
for both simulators; aihwkit where it is installed, with as many threads as there are cores. Floors: the plain product
of the batch, and one normal draw for every device that a pulse touches. Besides: the net counts of a batch in one
update, and 1 to 64 arrays.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crossjax import insitu, pulsed, report
from crossjax._pytree import replace
from crossjax._random import normal

N, BATCH, DELTA = 256, 32, 0.1
RATES = (0.01, 0.001)  # many pulses an update, and few
PEERS = {"constant step": "GokmenVlasovPreset", "PCM pair": "PCMPreset", "ReRAM, exponential": "ReRamESPreset",
         "Tiki-Taka v2, ReRAM": "TTv2ReRamESPreset"}  # fmt: skip


def schemes() -> dict[str, Any]:
    """What is updated, in sequence; and the net counts of the batch at once."""
    found = {
        "constant step": insitu.PulsedSGD(insitu.Single(pulsed.get("gokmen_vlasov"))),
        "PCM pair": insitu.PulsedSGD(insitu.OneSided(pulsed.get("pcm")), every=BATCH),
        "ReRAM, exponential": insitu.PulsedSGD(insitu.Single(pulsed.get("reram_es"))),
        "Tiki-Taka v2, ReRAM": insitu.from_preset("v2", "reram_es"),
    }
    plain = {n: s for n, s in found.items() if isinstance(s, insitu.PulsedSGD)}
    return found | {f"{name}, summed": replace(s, batch="sum") for name, s in plain.items()}


def vectors(batch: int = BATCH) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and errors, the same ones for all."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(batch, N)).astype(np.float32), DELTA * rng.normal(size=(batch, N)).astype(np.float32)


def ours(scheme: Any, rate: float, arrays: int = 1) -> tuple[Callable[[], Any], float]:
    """An update of arrays, one after the other in one program, and the share of devices that an example touches."""
    x, d = map(jnp.asarray, vectors())
    keys = jax.random.split(jax.random.key(0), arrays)
    begin = jax.vmap(lambda k: scheme.start(k, 0.2 * normal(k, (N, N))))(keys)

    @jax.jit
    def update(keys: Any, states: Any, x: Any, d: Any, rate: Any, n: Any) -> Any:
        return jax.lax.map(lambda one: scheme.update(*one, x, d, rate, n), (keys, states))

    step = scheme.synapse.step if isinstance(scheme, insitu.PulsedSGD) else scheme.fast.step
    count = insitu.Trains().count(keys[0], x[0], d[0], rate, step)
    return lambda: jax.block_until_ready(update(keys, begin, x, d, rate, jnp.asarray(0))), float(jnp.mean(count != 0))


def theirs(preset: str, rate: float) -> Callable[[], Any]:
    """The same update by aihwkit."""
    import torch  # pyright: ignore[reportMissingImports]
    from aihwkit.simulator import presets  # pyright: ignore[reportMissingImports]
    from aihwkit.simulator.tiles import AnalogTile  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(os.cpu_count() or 1)
    tile = AnalogTile(N, N, getattr(presets, preset)())
    tile.set_learning_rate(rate)
    tile.set_weights(0.2 * torch.randn(N, N))
    x, d = (torch.from_numpy(a) for a in vectors())
    return lambda: tile.update(x, d)


def milliseconds(calls: dict[str, Callable[[], Any]], rounds: int = 15) -> dict[str, float]:
    """Medians of calls taken in turns, after warm-up."""
    for call in calls.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            taken[name].append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    x, d = map(jnp.asarray, vectors())
    product = jax.jit(lambda x, d: x.T @ d)
    rows = []
    for rate, (name, scheme) in itertools.product(RATES, schemes().items()):
        update, touched = ours(scheme, rate)
        draws = int(touched * N * N * BATCH)
        noise = jax.jit(lambda k, draws=draws: normal(k, (max(draws, 1),)).sum())
        calls = {"ours": update, "product": lambda: jax.block_until_ready(product(x, d)),
                 "floor": lambda noise=noise: jax.block_until_ready(noise(jax.random.key(0)))}  # fmt: skip
        if importlib.util.find_spec("aihwkit") and name in PEERS:
            calls["aihwkit"] = theirs(PEERS[name], rate)
        rows.append({"work": name, "rate": rate, "touched": touched, **milliseconds(calls)})
    for arrays in (1, 8, 64):
        update, _ = ours(schemes()["constant step"], RATES[0], arrays)
        rows.append({"work": f"constant step, {arrays} arrays", **milliseconds({"ours": update}, 7)})
    for row in rows:
        print("  ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{v:42}" for k, v in row.items()))
    if chosen.out:
        chosen.out.write_text(
            json.dumps({"versions": report.versions(), "device": report.device(), "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
