"""aihwkit's `WeightProgrammingOptimizer` beside our searches: the same device, weights, times and significances.

    python -m benchmarks.strategies_peer            # where aihwkit 1.2 and crossjax are installed; four minutes

Gaussian weights clipped at 2 σ in two pairs of PCM, F between 1 and 4. All strategies are judged by one objective, ours
in closed form (`crossjax.strategies.problem`), with the density at six weights that the paper has. The peer runs with
its own settings, and is stopped after `LIMIT` seconds; the best strategy of each of its generations is judged. On two
cores its first generation (100 points a dimension, twice, in processes) takes longer than that.
"""

import contextlib
import importlib
import json
import signal
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import crossjax as cx
from crossjax import report, strategies
from crossjax.strategies import scan

OUT = Path(__file__).parent / "results" / "strategies_peer.json"
LIMIT, CLIP, FACTORS = 240.0, 2.0, (1.0, 4.0)


def strategy(factors: list[float], conductances: list[list[float]], g_max: float) -> Any:
    """Aihwkit's `CustomPairConductanceConverter` as a strategy: its lists go from the lowest weight to the highest.

    Args:
        factors: of every pair, in any order.
        conductances: (2 pairs, 2 D − 1) in µS, G⁺ and G⁻ of the first pair, of the second, …
        g_max: µS; its g_min is 0.
    """
    x = np.asarray(conductances) / g_max
    x = x[:, x.shape[1] // 2 :].reshape(len(factors), 2, -1)
    order = np.argsort(factors)[::-1]
    f, x = np.asarray(factors)[order], x[order]
    scale = float(np.sum(f * (x[:, 0, -1] - x[:, 1, -1])))
    knots = jnp.linspace(0.0, 1.0, x.shape[-1])
    return cx.tiles.Strategy(tuple(f.tolist()), knots, jnp.asarray(x.reshape(-1, x.shape[-1])), scale)


class Watch:
    """What scipy calls after every generation; of the module, as the peer sends it to its processes."""

    def __init__(self) -> None:
        self.begin, self.found = time.perf_counter(), []

    def __call__(self, intermediate_result: Any) -> None:
        """Keep the best point, and stop when the peer's own criterion is met."""
        self.found.append((time.perf_counter() - self.begin, np.array(intermediate_result.x)))
        if intermediate_result.fun < 0.0:
            raise StopIteration


def stop(*_: Any) -> None:
    """What the alarm does when time is up."""
    raise TimeoutError


def peer() -> list[tuple[float, list[float], list[list[float]]]]:
    """Seconds, factors and conductances of the best of every generation."""
    torch = importlib.import_module("torch")
    wpo = importlib.import_module("aihwkit.inference.converter.wpo")
    conductance = importlib.import_module("aihwkit.inference.converter.conductance")
    config = importlib.import_module("aihwkit.simulator.configs").InferenceRPUConfig()
    torch.manual_seed(0)
    weights = torch.clamp(torch.randn(100_000), -CLIP, CLIP) / CLIP
    watch = Watch()
    optimizer = wpo.WeightProgrammingOptimizer(
        weights, [1.0, None], config, list(strategies.TIMES), conductance.DualPairConductanceConverter([1.0, 1.0]),
        f_min=FACTORS[0], f_max=FACTORS[1], callback=watch, polish=False, disp=False,
    )  # fmt: skip
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(round(LIMIT))
    with contextlib.suppress(TimeoutError):
        optimizer.run_optimizer()
    signal.alarm(0)
    settings = optimizer.__dict__ | {"f_lst": [1.0, None]}
    return [(seconds, *wpo.denormalize(x, settings)) for seconds, x in watch.found]


def main() -> None:
    """Both, printed and written."""
    theirs = peer()  # first: it forks, which a process whose JAX has threads does not survive
    device, density = cx.devices.pcm(), strategies.at_knots(CLIP)
    begin = time.perf_counter()
    task = strategies.problem(device, density, points=509)  # compiled anew: its seconds count
    cube = strategies.Cube((2.0, 1.0), significance=FACTORS)
    ours = strategies.descend(jax.random.key(0), task, cube)
    seconds = time.perf_counter() - begin
    trace = []
    for at, factors, conductances in theirs:
        one = strategy(factors, conductances, device.g_max)
        trace.append({"seconds": at, "error": float(task.error(one).loss) ** 0.5, "strategy": scan.as_record(one)})
    best = {"error": ours.error, "seconds": seconds, "strategy": scan.as_record(ours.strategy)}
    for name, r in [("gradient, ours", best), *(("aihwkit", r) for r in trace)]:
        factor = r["strategy"]["factors"][0]
        print(f"{name:16s}  error {100 * r['error']:.3f} %, F = {factor:.2f}, {r['seconds']:.1f} s")
    if not trace:
        print(f"aihwkit           no generation within {LIMIT:.0f} s")
    result = {
        "aihwkit": metadata.version("aihwkit"), "versions": report.versions(), "device": report.device(),
        "limit": LIMIT, "ours": best, "peer": trace,
    }  # fmt: skip
    OUT.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
