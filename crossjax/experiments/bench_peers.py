"""The peers' own loops for the work of `bench`, for those that are installed (aihwkit, aihwkit-lightning).

All have 8-bit converters of 254 steps and output noise 0.04; torch uses as many threads as there are cores. Their
docs are the source of every setting. Noise of aihwkit stays on in eval(); lightning adds it in train() only.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

STEP = 1 / (2**8 - 2)
TIMES = (25.0, 3600.0, 86400.0, 30 * 86400.0, 365 * 86400.0)


def installed() -> list[str]:
    """The peers that can be imported."""
    return [name for name in ("aihwkit", "aihwkit_lightning") if importlib.util.find_spec(name)]


def measure() -> dict[str, dict[str, float]]:
    """Milliseconds by peer and work; their programming loop sends 256 vectors (the identity) an iteration."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(os.cpu_count() or 1)
    results: dict[str, dict[str, float]] = {}
    with torch.no_grad():
        if "aihwkit" in installed():
            for name, torch_tile in (("aihwkit C++ tile", False), ("aihwkit torch tile", True)):
                results[name] = {
                    f"forward {n}": _forward(torch, _aihwkit(torch, n, torch_tile), n) for n in (512, 1024)
                }
                results[name]["population"] = _population(torch, _aihwkit(torch, 512, torch_tile, age=True))
            results |= _gdp(torch)
        if "aihwkit_lightning" in installed():
            results["aihwkit-lightning"] = {
                f"forward {n}": _forward(torch, _lightning(torch, n), n) for n in (512, 1024)
            }
    return results


def _median_ms(call: Callable[[], Any], repeats: int) -> float:
    times = []
    for k in range(repeats + 3):
        begin = time.perf_counter()
        call()
        if k >= 3:
            times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times)


def _linear(torch: Any, size: int) -> Any:
    layer = torch.nn.Linear(size, size, bias=False)
    torch.nn.init.normal_(layer.weight, std=size**-0.5)
    return layer


def _forward(torch: Any, layer: Any, size: int) -> float:
    x = torch.randn(1024, size)
    return _median_ms(lambda: layer(x), 20)


def _aihwkit(torch: Any, size: int, torch_tile: bool, age: bool = False) -> Any:
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


def _population(torch: Any, layer: Any) -> float:
    x = torch.randn(256, 512)

    def chips(count: int) -> None:
        for _ in range(count):
            layer.program_analog_weights()
            for t in TIMES:
                layer.drift_analog_weights(t)
                layer(x)

    chips(2)
    begin = time.perf_counter()
    chips(32)
    return 1e3 * (time.perf_counter() - begin)


def _gdp(torch: Any) -> dict[str, dict[str, float]]:
    from aihwkit.nn import AnalogLinear  # pyright: ignore[reportMissingImports]
    from aihwkit.simulator.configs import SingleRPUConfig  # pyright: ignore[reportMissingImports]
    from aihwkit.simulator.presets import PCMPreset, ReRamESPreset  # pyright: ignore[reportMissingImports]

    results = {}
    for name, config in (("PCM", PCMPreset()), ("ReRAM", ReRamESPreset()), ("ConstantStep", SingleRPUConfig())):
        layer = AnalogLinear(256, 256, bias=False, rpu_config=config)
        tile, weight = next(layer.analog_tiles()), _linear(torch, 256).weight

        def once(iterations: int, layer: Any = layer, tile: Any = tile, weight: Any = weight) -> float:
            layer.set_weights(weight)
            begin = time.perf_counter()
            tile.program_weights(max_iter=iterations, tolerance=None, learning_rate=0.1)
            return time.perf_counter() - begin

        once(5)
        ms = 1e3 * (once(110) - once(10)) / 100
        results[f"aihwkit program_weights, {name}"] = {"gdp": ms, "gdp, 256 vectors": ms}
    return results


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
