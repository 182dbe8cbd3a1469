"""What aihwkit's configurations are made of: every class's fields with defaults, every preset's differences from them.

    python benchmarks/aihwkit_tables.py crossjax/included/aihwkit.json      # where aihwkit 1.2 is installed

`crossjax.interop.aihwkit` reads that file, so that it knows the names and defaults of aihwkit without it.
"""

import dataclasses
import enum
import importlib
import json
import sys
from importlib import metadata
from pathlib import Path

SKIPPED = (
    "tile_class", "tile_array_class", "simulator_tile_class", "runtime", "construction_seed", "count_pulses",
    "g_converter.scale_ratio", "scale_ratio",
)  # fmt: skip
MODULES = (
    "simulator.configs.configs", "simulator.configs.devices", "simulator.configs.compounds", "simulator.parameters.io",
    "simulator.parameters.training", "simulator.parameters.inference", "simulator.parameters.mapping",
    "simulator.parameters.pre_post", "simulator.presets.utils", "inference.noise.pcm", "inference.noise.reram",
    "inference.noise.hermes", "inference.noise.custom", "inference.converter.conductance", "inference.converter.fusion",
    "inference.compensation.drift",
)  # fmt: skip
PRESETS = (
    "simulator.presets.inference", "simulator.presets.web", "simulator.presets.configs", "simulator.presets.devices",
    "simulator.presets.compounds", "simulator.presets.utils",
)  # fmt: skip


def as_dict(value):
    if dataclasses.is_dataclass(value) or type(value).__module__.startswith("aihwkit.inference"):
        fields = {k: as_dict(v) for k, v in vars(value).items() if k not in SKIPPED and not k.startswith("_")}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, dict):
        return {str(k): as_dict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_dict(v) for v in value]
    return value.name if isinstance(value, enum.Enum) else value.__name__ if isinstance(value, type) else value


def classes(modules):
    for module in modules:
        found = importlib.import_module(f"aihwkit.{module}")
        for name, value in vars(found).items():
            if isinstance(value, type) and value.__module__ == found.__name__ and not name.startswith("_"):
                yield name, value


NEEDED = {  # classes that take arguments: some to make one with; None in the table
    "NPairConductanceConverter": {"f_lst": [1.0, 2.0]},
    "DualPairConductanceConverter": {"f_lst": [1.0, 2.0]},
    "CustomPairConductanceConverter": {"f_lst": [1.0], "g_lst": [[0.0, 25.0, 25.0], [25.0, 25.0, 0.0]]},
    "CustomDriftPCMLikeNoiseModel": {
        "custom_drift_model": {"g_lst": [0.0, 25.0], "nu_mean_lst": [0.1, 0.1], "nu_std_lst": [0.0, 0.0]}
    },
}  # fmt: skip


def made(cls):
    needed = NEEDED.get(cls.__name__, {})
    try:
        found = as_dict(cls(**needed))
    except (TypeError, ValueError, AttributeError):
        return None
    return found | {k: None for k in needed}


def difference(value, tables):
    """A document without what its classes have by default."""
    if isinstance(value, list):
        return [difference(v, tables) for v in value]
    if not isinstance(value, dict) or "class" not in value:
        return value
    default = tables.get(value["class"], {})
    return {k: difference(v, tables) for k, v in value.items() if k == "class" or k not in default or v != default[k]}


def main():
    out = Path(sys.argv[1])
    tables = {name: document for name, cls in classes(MODULES) if (document := made(cls))}
    tables = {name: {k: v for k, v in document.items() if k != "class"} for name, document in tables.items()}
    bases = {name: [b.__name__ for b in cls.__mro__[1:] if b.__name__ in tables] for name, cls in classes(PRESETS)}
    presets = {}
    for name, cls in classes(PRESETS):
        if name.endswith(("Preset", "RPUConfig", "PresetDevice", "PresetUnitCell")) and bases[name]:
            document = made(cls)
            presets[name] = {**(document or {}), "class": bases[name][0]}
    for name, document in presets.items():  # a part that is a preset itself is written as what it is
        presets[name] = difference(plain(document, bases), tables)
    found = {"aihwkit": metadata.version("aihwkit"), "classes": tables, "presets": presets}
    out.write_text(json.dumps(found, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(tables)} classes and {len(presets)} presets in {out}, {out.stat().st_size / 1000:.0f} kB")


def plain(value, bases):
    if isinstance(value, list):
        return [plain(v, bases) for v in value]
    if not isinstance(value, dict):
        return value
    found = {k: plain(v, bases) for k, v in value.items()}
    if found.get("class") in bases and bases[found["class"]]:
        found["class"] = bases[found["class"]][0]
    return found


if __name__ == "__main__":
    main()
