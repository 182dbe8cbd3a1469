"""The peers' own loops for the work of `bench`, for those that are installed (aihwkit, aihwkit-lightning).

All have 8-bit converters of 254 steps and output noise 0.04; torch uses as many threads as there are cores. Their
docs are the source of every setting. Noise of aihwkit stays on in eval(); lightning adds it in train() only.
Beside every figure stands that of torch's plain products of the same count and shapes: how much faster one simulator
is than another depends on whose matrix product the processor likes better.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

STEP = 1 / (2**8 - 2)
TIMES = (25.0, 3600.0, 86400.0, 30 * 86400.0, 365 * 86400.0)


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one work of a peer and of torch's plain products for it, or the reason why there are none."""

    ms: float | None = None
    product_ms: float | None = None
    failed: str = ""


def installed() -> list[str]:
    """The peers that can be imported."""
    return [name for name in ("aihwkit", "aihwkit_lightning") if importlib.util.find_spec(name)]


def measure() -> dict[str, dict[str, Timing]]:
    """Timings by peer and work; aihwkit's programming loop sends 256 vectors (the identity) an iteration."""
    works: dict[str, dict[str, Callable[[Any], Timing]]] = {}
    if "aihwkit" in installed():
        for name, torch_tile in (("aihwkit C++ tile", False), ("aihwkit torch tile", True)):
            works[name] = {f"forward {n}": partial(_forward, partial(_aihwkit, torch_tile), n) for n in (512, 1024)}
            works[name]["population"] = partial(_population, torch_tile)
        for preset in ("PCMPreset", "ReRamESPreset", "SingleRPUConfig"):
            works[f"aihwkit program_weights, {preset}"] = {"gdp, 256 vectors": partial(_gdp, preset)}
    if "aihwkit_lightning" in installed():
        works["aihwkit-lightning"] = {f"forward {n}": partial(_forward, _lightning, n) for n in (512, 1024)}
    return {peer: {work: _attempt(run) for work, run in own.items()} for peer, own in works.items()}


def _attempt(run: Callable[[Any], Timing]) -> Timing:
    """What a peer's work takes; a peer that does not run here, for whatever reason, must not stop the others."""
    try:
        import torch  # pyright: ignore[reportMissingImports]

        torch.set_num_threads(os.cpu_count() or 1)
        with torch.no_grad():
            return run(torch)
    except (Exception, SystemExit) as error:
        return Timing(failed=reason(error))


def reason(error: BaseException) -> str:
    """An exception in one line."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def _seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _in_turns(work: Callable[[], Any], product: Callable[[], Any], repeats: int) -> Timing:
    """Medians of both, taken in turns, after three rounds of warm-up."""
    rounds = [(_seconds(work), _seconds(product)) for _ in range(repeats + 3)][3:]
    ms, product_ms = (1e3 * statistics.median(column) for column in zip(*rounds, strict=True))
    return Timing(ms, product_ms)


def _linear(torch: Any, size: int) -> Any:
    layer = torch.nn.Linear(size, size, bias=False)
    torch.nn.init.normal_(layer.weight, std=size**-0.5)
    return layer


def _forward(build: Callable[[Any, int], Any], size: int, torch: Any) -> Timing:
    layer, plain, x = build(torch, size), _linear(torch, size), torch.randn(1024, size)
    return _in_turns(lambda: layer(x), lambda: plain(x), 20)


def _aihwkit(torch_tile: bool, torch: Any, size: int, age: bool = False) -> Any:
    from aihwkit.inference import (  # pyright: ignore[reportMissingImports]
        GlobalDriftCompensation,
        PCMLikeNoiseModel,
    )
    from aihwkit.nn import AnalogLinear  # pyright: ignore[reportMissingImports]
    from aihwkit.simulator import configs  # pyright: ignore[reportMissingImports]
    from aihwkit.simulator.parameters.enums import BoundManagementType  # pyright: ignore[reportMissingImports]

    config = configs.TorchInferenceRPUConfig() if torch_tile else configs.InferenceRPUConfig()
    config.forward.inp_res = config.forward.out_res = STEP
    config.forward.out_noise, config.forward.out_bound = 0.04, 12.0
    config.forward.bound_management = BoundManagementType.NONE
    config.mapping.weight_scaling_omega = 1.0
    config.mapping.max_input_size = config.mapping.max_output_size = 4096
    config.drift_compensation = GlobalDriftCompensation() if age else None
    if age:
        config.noise_model = PCMLikeNoiseModel(g_max=25.0)
    layer = AnalogLinear(size, size, bias=False, rpu_config=config)
    layer.set_weights(_linear(torch, size).weight.detach(), None)
    return layer.eval()


def _population(torch_tile: bool, torch: Any) -> Timing:
    layer, plain, x = _aihwkit(torch_tile, torch, 512, age=True), _linear(torch, 512), torch.randn(256, 512)

    def chips(count: int) -> None:
        for _ in range(count):
            layer.program_analog_weights()
            for t in TIMES:
                layer.drift_analog_weights(t)
                layer(x)

    def products(count: int) -> None:
        for _ in range(count * len(TIMES)):
            plain(x)

    chips(2)
    products(2)
    return Timing(1e3 * _seconds(lambda: chips(32)), 1e3 * _seconds(lambda: products(32)))


def _gdp(preset: str, torch: Any) -> Timing:
    """An iteration of aihwkit's loop, and the three products of one: X W, X Ŵ and Xᵀ (Ŷ − Y)."""
    from aihwkit.nn import AnalogLinear  # pyright: ignore[reportMissingImports]
    from aihwkit.simulator import configs, presets  # pyright: ignore[reportMissingImports]

    config = getattr(configs if preset == "SingleRPUConfig" else presets, preset)()
    layer, weight = AnalogLinear(256, 256, bias=False, rpu_config=config), _linear(torch, 256).weight
    tile, x = next(layer.analog_tiles()), torch.randn(256, 256)

    def once(iterations: int) -> None:
        layer.set_weights(weight)
        tile.program_weights(max_iter=iterations, tolerance=None, learning_rate=0.1)

    def products() -> Any:
        return x.T @ (x @ weight - x @ weight)

    once(5)
    ms = 1e3 * (_seconds(lambda: once(110)) - _seconds(lambda: once(10))) / 100
    return Timing(ms, _in_turns(lambda: None, products, 100).product_ms)


def _lightning(torch: Any, size: int) -> Any:
    from aihwkit_lightning.nn import AnalogLinear  # pyright: ignore[reportMissingImports]
    from aihwkit_lightning.simulator.configs import (  # pyright: ignore[reportMissingImports]
        TorchInferenceRPUConfig,
    )

    config = TorchInferenceRPUConfig()
    config.forward.inp_res = config.forward.out_res = STEP
    config.forward.out_noise, config.forward.out_bound = 0.04, 12.0
    config.pre_post.input_range.enable = config.pre_post.input_range.dynamic = True
    config.mapping.max_input_size = -1
    return AnalogLinear.from_digital(_linear(torch, size), config).train()
