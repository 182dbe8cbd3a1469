"""``python benchmarks/gpu.py --out DIR [--data DIR]``: the simulator on one GPU, in one command of at most 8 minutes.

Runs from the source tree; nothing is installed. Every section is a process of its own with its own time, and writes
each row as soon as it has it, so that one that fails or hangs, or a run that is cut off, loses nothing else:

    forward      a noisy 8-bit MVM of 4096² against the plain product: float32 by default (TF32) and in full, bfloat16
    population   chips × times of a 512² PCM tile, one chip at a time to all at once, against batched products
    gdp          GDP on chips of 256², all at once, against the three products of every iteration
    wires        effective conductances of 256² and 512² in float64 and float32, and of many arrays at once
    in_situ      training on the chip: variants of an MNIST network of pulsed devices, one to all at once
    joshi2020    a published ResNet on PCM as in Joshi et al. (2020), with as many steps and chips as time allows

Leaves DIR/SECTION.json and DIR/result.json (all of them, with versions and device), a table, and DIR/gpu.png.
``--dry`` does everything at tiny sizes on the CPU, with made-up images.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SECTIONS = {
    "forward": 80.0,
    "population": 60.0,
    "gdp": 50.0,
    "wires": 90.0,
    "in_situ": 60.0,
    "joshi2020": 400.0,
}  # most s
SHORTEST = 30.0  # seconds: no section starts with less
NETWORKS = ("flax", "optax", "orbax", "safetensors", "matplotlib")
NEEDS = {"wires": ("scipy",), "in_situ": NETWORKS, "joshi2020": NETWORKS}
DRY = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}  # compile fast, run slowly
BASE = ("jax", "jaxlib", "numpy", "rich")


def missing(names: Sequence[str]) -> str:
    """Those of the modules that are not installed."""
    return ", ".join(name for name in names if importlib.util.find_spec(name) is None)


def inside(chosen: argparse.Namespace) -> int:
    """One section, in the process that is its own: 0, or 1 and the reason in its file."""
    import jax

    if chosen.dry:
        jax.config.update("jax_logging_level", "CRITICAL")  # XLA warns at length of cached code for other processors
    from benchmarks import gpu_networks, gpu_sections

    options = gpu_sections.Options.of(dry=chosen.dry, data=chosen.data, weights=chosen.weights)
    log = gpu_sections.Log(chosen.out / f"{chosen.section}.json", chosen.until)
    try:
        if not chosen.dry and jax.default_backend() == "cpu":
            raise RuntimeError("JAX finds no GPU here, only the CPU; --dry needs none")
        getattr(gpu_networks if chosen.section in ("in_situ", "joshi2020") else gpu_sections, chosen.section)(
            log, options
        )
    except Exception as error:
        traceback.print_exc()
        log.found["why"] = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        log.write()
        return 1
    return 0


def outside(name: str, chosen: argparse.Namespace, left: float) -> dict[str, Any]:
    """A section in a process of its own, or the reason why it was not started: its file's content and its status."""
    seconds = left if chosen.dry else min(SECTIONS[name], left)
    if absent := missing(NEEDS.get(name, ())):
        return {"status": "skipped", "why": f"needs {absent}, not installed for {sys.executable}", "rows": []}
    if name == "joshi2020" and chosen.data is None and not chosen.dry:
        return {"status": "skipped", "why": "needs --data: a folder with cifar-10-batches-py", "rows": []}
    if seconds < SHORTEST:
        return {"status": "skipped", "why": f"only {left:.0f} s of {chosen.seconds:.0f} s are left", "rows": []}
    command = [sys.executable, __file__, "--section", name, "--out", str(chosen.out), *(["--dry"] * chosen.dry)]
    command += [f"--until={time.time() + seconds}"]
    command += [f"--{name}={value}" for name in ("data", "weights") if (value := getattr(chosen, name))]
    file, begin = chosen.out / f"{name}.json", time.perf_counter()
    file.unlink(missing_ok=True)
    try:
        code = subprocess.run(command, timeout=seconds, env=os.environ | (DRY if chosen.dry else {})).returncode
        end = {"status": "failed", "why": f"exit code {code}"} if code else {"status": "done", "why": ""}
    except subprocess.TimeoutExpired:
        end = {"status": "cut off", "why": f"its {seconds:.0f} s were over"}
    found = json.loads(file.read_text()) if file.exists() else {"rows": []}
    return end | found | {"seconds": time.perf_counter() - begin}


def run(chosen: argparse.Namespace) -> int:
    """All sections, one after the other; 1 if one failed."""
    begin = time.perf_counter()
    versions = {name: metadata.version(name) for name in ("flax", "optax", "scipy") if not missing([name])}
    result: dict[str, Any] = {"name": "gpu", "dry": chosen.dry, "limit_s": chosen.seconds, "versions": versions}
    result |= {"device": None, "sections": {}}
    for name in chosen.only:
        print(f"{name}:", flush=True)
        found = outside(name, chosen, chosen.seconds - (time.perf_counter() - begin))
        print(f"  {found['status']}" + (f": {found['why']}" if found["why"] else ""), flush=True)
        result["versions"] |= found.pop("versions", {})  # the same for all
        result["device"] = found.pop("device", result["device"])
        result["sections"][name] = found
        result["seconds"] = time.perf_counter() - begin
        temporary = chosen.out / ".result.json"
        temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(temporary, chosen.out / "result.json")
    print(table(result))
    if missing(["matplotlib"]):
        print("no plots: matplotlib is not installed")
    else:
        plot(result, chosen.out / "gpu.png")
    return int(any(found["status"] == "failed" for found in result["sections"].values()))


def table(result: dict[str, Any]) -> str:
    """What was timed, a line each."""
    facts = {"ms": "ms", "floor, ms": "floor_ms", "ratio": "ratio", "noise, ms": "noise_ms", "GB/s": "gb_s"}
    facts |= {"compile, s": "compile_s"}
    lines = [["work", *facts]]
    for row in (row for found in result["sections"].values() for row in found["rows"] if "ms" in row):
        lines.append([row["work"], *(f"{row[fact]:.4g}" if fact in row else "" for fact in facts.values())])
    widest = max(len(line[0]) for line in lines)
    text = [line[0].ljust(widest) + "".join(cell.rjust(12) for cell in line[1:]) for line in lines]
    statuses = ", ".join(f"{name} {found['status']}" for name, found in result["sections"].items())
    return "\n".join([*text, f"{result['device']}, {result['seconds']:.0f} s: {statuses}"])


def plot(result: dict[str, Any], file: Path) -> None:
    """A panel for each section."""
    from matplotlib.figure import Figure

    sections = result["sections"]
    figure = Figure(figsize=(4.2 * len(sections), 3.6), layout="constrained")
    for axis, (name, found) in zip(figure.subplots(1, len(sections), squeeze=False)[0], sections.items(), strict=True):
        axis.set_title(f"{name}: {found['status']}")
        if name == "joshi2020":
            accuracies(axis, [row for row in found["rows"] if "times" in row])
            continue
        rows = [row for row in found["rows"] if "label" in row]
        for shift, (key, label) in enumerate((("floor_ms", "floor"), ("ms", "ours"), ("noise_ms", "its noise alone"))):
            bars = [(k + 0.27 * (shift - 1), row[key]) for k, row in enumerate(rows) if key in row]
            if bars:
                axis.bar(*zip(*bars, strict=True), width=0.25, label=label)
        axis.set_xticks(range(len(rows)), [row["label"] for row in rows], rotation=25, ha="right")
        axis.set(ylabel="ms", yscale="log")
        if rows:
            axis.legend(fontsize=7)
    figure.savefig(file, dpi=144)


def accuracies(axis: Any, chips: Sequence[dict[str, Any]]) -> None:
    """Mean over chips against time, of both networks and all compensations."""
    for network, style in (("direct mapping", "--"), ("noise-trained", "-")):
        own = [row for row in chips if row["network"] == network]
        for colour, kind in enumerate(("none", "gdc", "adabs") if own else ()):
            mean = [100 * sum(at) / len(own) for at in zip(*(row[kind] for row in own), strict=True)]
            axis.plot(own[0]["times"], mean, style, color=f"C{colour}", marker=".", label=f"{network}, {kind}")
    axis.set(xscale="log", xlabel="seconds after the first read", ylabel="accuracy (%)")
    if chips:
        axis.legend(fontsize=7)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=None, help="folder with cifar-10-batches-py, for joshi2020")
    parser.add_argument("--weights", type=Path, default=None, help="a published ResNet instead of the included one")
    parser.add_argument("--seconds", type=float, default=None, help="for everything (450; dry: an hour)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--dry", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    chosen.seconds = chosen.seconds or (3600.0 if chosen.dry else 450.0)
    if absent := missing(BASE):
        parser.error(f"needs {absent}, not installed for {sys.executable}")
    if chosen.section:
        raise SystemExit(inside(chosen))
    if (chosen.out / "result.json").exists():
        parser.error(f"{chosen.out} holds an earlier run: choose another --out")
    chosen.out.mkdir(parents=True, exist_ok=True)
    raise SystemExit(run(chosen))


if __name__ == "__main__":
    main()
