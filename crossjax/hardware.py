"""What hardware is, for comparing: every fact of a spec by its dotted name, a fingerprint, and what differs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from crossjax.circuits.converters import ADC, DAC


def facts(spec: Any, name: str = "") -> dict[str, Any]:
    """Class, structure and numbers of a spec and all its parts, as text and float32 numbers, by dotted name.

    Two specs with the same facts are the same hardware, whatever kind of number or array they hold. The ranges of
    converters are left out: they are settings, which calibration changes.
    """
    if dataclasses.is_dataclass(spec):
        own = [f.name for f in dataclasses.fields(spec) if not (f.name == "range" and isinstance(spec, ADC | DAC))]
        parts = {f"{name}.{field}" if name else field: getattr(spec, field) for field in own}
        found = {name: type(spec).__name__}
    elif isinstance(spec, tuple | list):
        parts = {f"{name}.{k}": part for k, part in enumerate(spec)}
        found = {name: f"{len(parts)} parts"}
    elif isinstance(spec, bool | int | str) or spec is None:
        return {name: spec}
    else:
        with np.errstate(over="ignore"):
            numbers = np.asarray(spec).astype(np.float32)
        return {name: float(numbers) if numbers.ndim == 0 else numbers.tolist()}
    for key, part in parts.items():
        found |= facts(part, key)
    return found


def fingerprint(spec: Any) -> str:
    """SHA-256 of the facts of some hardware."""
    return hashlib.sha256(json.dumps(facts(spec), sort_keys=True).encode()).hexdigest()


def differences(saved: Any, here: Any) -> str:
    """What differs between two pieces of hardware, as one line; empty if nothing does."""
    a, b = facts(saved), facts(here)
    names = [k for k in {**a, **b} if k not in a or k not in b or a[k] != b[k]]
    found = [f"{k or 'it'} is {_shown(a, k)} there and {_shown(b, k)} here" for k in names[:3]]
    return ", ".join(found) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _shown(found: dict[str, Any], name: str) -> str:
    value = found.get(name, "nothing")
    return str(np.float32(value)) if isinstance(value, float) else str(value)
