"""MVM errors over time of aihwkit's own chips, and of ours made from the same configurations.

    python -m benchmarks.aihwkit_peer --peer      # where aihwkit 1.2 and crossjax are installed: measures both
    python -m benchmarks.aihwkit_peer             # ours again, beside the peer's committed figures

Same weights, same inputs, `CHIPS` chips each. The peer's figures lie in ``benchmarks/results/aihwkit.json``.
"""

import argparse
import enum
import importlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

import crossjax as cx
from crossjax.interop import aihwkit

OUT = Path(__file__).parent / "results" / "aihwkit.json"
SHAPE, INPUTS, CHIPS = (256, 128), 256, 24
TIMES = (0.0, 3600.0, 86_400.0, 365 * 86_400.0)
CONFIGS = {  # as dictionaries: read by us as they are, and turned into aihwkit's objects for the peer
    "PCM, ideal periphery": {"forward": {"is_perfect": True}},
    "PCM, ideal periphery, no compensation": {"forward": {"is_perfect": True}, "drift_compensation": None},
    "PCM, default periphery": {"mapping": {"weight_scaling_omega": 1.0}},
    "standard": {
        "class": "StandardHWATrainingPreset",
        "pre_post": {
            "input_range": {"enable": True, "init_value": 1.0, "learn_input_range": False, "init_from_data": 0}
        },
    },
    "HERMES-like": {
        "mapping": {"weight_scaling_omega": 1.0, "max_input_size": 256, "max_output_size": 256},
        "noise_model": {"class": "HermesNoiseModel"},
        "forward": {
            "inp_res": 254.0, "out_res": 420.0, "out_bound": 7.11, "out_noise": 0.0305, "noise_management": "NONE",
            "bound_management": "NONE",
        },
    },
    "RRAM (Wan 2022), a day": {"noise_model": {"class": "ReRamWan2022NoiseModel"}, "drift_compensation": None},
}  # fmt: skip
CONFIGS |= {
    f"{name}, no compensation": {**CONFIGS[name], "drift_compensation": None} for name in ("standard", "HERMES-like")
}
AFTER = {"RRAM (Wan 2022), a day": 86_400.0}


def data():
    """Weights (rows, cols) within 3 σ, the largest of them 1; inputs (vectors, rows) within [−1, 1]."""
    rng = np.random.default_rng(0)
    w = np.clip(rng.standard_normal(SHAPE), -3.0, 3.0) / 3.0
    x = np.clip(rng.standard_normal((INPUTS, SHAPE[0])) / 3.0, -1.0, 1.0)
    return (w / np.abs(w).max()).astype(np.float32), x.astype(np.float32)


def times_of(name):
    return (AFTER[name],) if name in AFTER else TIMES


def reconverted(key, tile, chip):
    """Tile and chip as aihwkit has them when the chip begins to age.

    aihwkit makes weights of what was programmed, and conductances of those weights again before drift and 1/f noise
    (``inference/noise/base.py``, `apply_drift_noise`): every pair becomes one device and an exact 0, and the largest
    weight with its error g_max, so that all others lie lower, where they drift and fluctuate more.
    """
    normalised = tile.cell.decode(tile.device.in_spans(chip.cells.g))
    largest = jax.numpy.max(jax.numpy.abs(normalised))
    cells = cx.replace(chip.cells, g=tile.targets(normalised / largest))
    parts = {"noise": None if tile.noise is None else tile.noise / largest}  # the periphery stays that of the weights
    if tile.adc is not None:
        parts["adc.range"] = tile.adc.range / largest
    if tile.device.read is not None:
        law = tile.device.read.variance
        parts["device.read.variance"] = cx.devices.Polynomial(tuple(c / largest for c in law.coefficients))
    if tile.wires is not None:
        parts["wires.g_ref"] = tile.wires.g_ref * largest
    tile = cx.replace(tile, **parts)
    return tile, cx.remember(key, tile, cx.replace(chip, cells=cells, scale=chip.scale * largest))


def scale_of_a_redraw(key, config, w):
    """By how much aihwkit's weights grow where noise is redrawn (``inference/noise/reram.py``).

    What a later time draws again is around the targets, at the scale of the largest weight of the first second.
    """
    first = aihwkit.tile(config, largest=1.0, unsupported="report").tile
    chip, _ = cx.program(key, first, w, cx.OneShot())
    return jax.numpy.max(jax.numpy.abs(first.cell.decode(first.device.in_spans(chip.cells.g))))


def mean_magnitude(key, tile, chip, t):
    """The readout of aihwkit's `GlobalDriftCompensation`: one-hot inputs, the mean magnitude of all outputs."""
    return jax.numpy.mean(jax.numpy.abs(cx.mvm(key, tile, chip, jax.numpy.eye(SHAPE[0]), t)))


def ours(name, chips=CHIPS, *, their_way=False):
    """Errors (chips, times); ``their_way``: converted twice, redrawn and compensated as aihwkit does it."""
    w, x = data()
    config = CONFIGS[name]
    tile = aihwkit.tile(config, largest=1.0, after=AFTER.get(name), unsupported="report").tile
    imitates_gdc = their_way and tile.compensation is not None
    if imitates_gdc:
        tile = cx.replace(tile, compensation=None)
    if isinstance(tile.wires, cx.circuits.StaticDrop):  # aihwkit's sense node is at the first row
        w, x = w[::-1].copy(), x[:, ::-1].copy()
    times = (0.0,) if name in AFTER else TIMES

    def one(key):
        chip, _ = cx.program(key, tile, w, cx.OneShot())
        used, wanted = tile, x @ w
        if their_way and name in AFTER:
            chip = cx.replace(chip, scale=chip.scale * scale_of_a_redraw(jax.random.fold_in(key, 2), config, w))
        elif their_way:
            used, chip = reconverted(jax.random.fold_in(key, 2), tile, chip)

        def at(k, t):
            y = cx.mvm(k, used, chip, jax.numpy.asarray(x), t)
            if imitates_gdc:
                first, now = (mean_magnitude(jax.random.fold_in(k, n), used, chip, s) for n, s in enumerate((0.0, t)))
                y = y * first / now
            return jax.numpy.linalg.norm(y - wanted) / np.linalg.norm(wanted)

        keys = jax.random.split(jax.random.fold_in(key, 1), len(times))
        return jax.numpy.stack([at(k, t) for k, t in zip(keys, times, strict=True)])

    return np.asarray(jax.jit(lambda ks: jax.lax.map(one, ks))(jax.random.split(jax.random.key(0), chips)))


def peer(name):
    """Aihwkit's errors (chips, times)."""
    torch = importlib.import_module("torch")
    InferenceTile = importlib.import_module("aihwkit.simulator.tiles").InferenceTile

    w, x = data()
    config = build(aihwkit.complete(CONFIGS[name], "InferenceRPUConfig"))
    wanted, found = x @ w, []
    for chip in range(CHIPS):
        torch.manual_seed(chip)
        tile = InferenceTile(SHAPE[1], SHAPE[0], config)
        tile.set_weights(torch.tensor(w.T.copy()))
        tile.eval()
        tile.program_weights()
        row = []
        for t in times_of(name):
            tile.drift_weights(t)
            y = tile(torch.tensor(x)).detach().numpy()
            row.append(float(np.linalg.norm(y - wanted) / np.linalg.norm(wanted)))
        found.append(row)
    return np.asarray(found)


def build(doc):
    """Aihwkit's objects of a complete dictionary."""
    rooms = ("simulator.configs", "simulator.parameters", "inference")
    modules = [importlib.import_module(f"aihwkit.{room}") for room in rooms]

    kind = doc["class"]
    where = next(m for m in modules if hasattr(m, kind))
    made = {k: build(v) if isinstance(v, dict) and "class" in v else v for k, v in doc.items() if k != "class"}
    if kind.endswith("NoiseModel"):
        return getattr(where, kind)()
    found = getattr(where, kind)()
    for name, value in made.items():
        known: Any = getattr(found, name)
        if isinstance(known, enum.Enum):
            value = type(known)[str(value)]
        setattr(found, name, value)
    return found


def main():
    parser = argparse.ArgumentParser(description="MVM errors over time of aihwkit's chips and of ours")
    parser.add_argument("--peer", action="store_true", help="measure aihwkit as well, and write its figures down")
    with_peer = parser.parse_args().peer
    kept = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    found = {"shape": SHAPE, "inputs": INPUTS, "chips": CHIPS, "configs": {}}
    found["aihwkit"] = metadata.version("aihwkit") if with_peer else kept["aihwkit"]
    for name in CONFIGS:
        theirs = peer(name) if with_peer else np.asarray(kept["configs"][name]["aihwkit"])
        mine, same = ours(name), ours(name, their_way=True)
        found["configs"][name] = {
            "times": times_of(name), "aihwkit": theirs.round(6).tolist(), "crossjax": mine.round(6).tolist(),
            "crossjax, as aihwkit does it": same.round(6).tolist(),
        }  # fmt: skip
        for k, t in enumerate(times_of(name)):
            a, b, c = theirs[:, k], mine[:, k], same[:, k]
            print(
                f"{name:40s} {cx.plot.span(t):>6s}  aihwkit {a.mean():.4f} ± {a.std(ddof=1):.4f}  "
                f"crossjax {b.mean():.4f} ± {b.std(ddof=1):.4f}  {100 * (b.mean() / a.mean() - 1):+.1f} %  "
                f"as aihwkit does it {c.mean():.4f} ± {c.std(ddof=1):.4f} {100 * (c.mean() / a.mean() - 1):+.1f} %"
            )
    OUT.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
