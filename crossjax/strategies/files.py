"""Strategies in files: JSON with a version, so that a strategy found today is programmed with in a year.

    {"format": "crossjax strategy", "version": 1, "factors": […], "knots": […], "conductances": [[…], …], "scale": …,
     "about": {…}}

``about`` says what it was optimised for; nothing is decided by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from crossjax.run_folder import write_text
from crossjax.tensors import BadFileError, door
from crossjax.tiles.strategy import Strategy

FORMAT, VERSION = "crossjax strategy", 1


def save_strategy(path: str | Path, strategy: Strategy, about: Mapping[str, Any] | None = None) -> None:
    """Write one strategy; ``about`` is what a reader may want to know.

    Raises:
        OSError: if it cannot be written; nothing is left then.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "factors": [float(f) for f in strategy.factors],
        "knots": np.asarray(strategy.knots, float).tolist(),
        "conductances": np.asarray(strategy.x, float).tolist(),
        "scale": float(strategy.scale),
        "about": dict(about or {}),
    }
    write_text(Path(path), json.dumps(content, indent=2) + "\n")


def load_strategy(path: str | Path) -> Strategy:
    """The strategy of a file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is damaged, no strategy, or of a later version; says which.
    """
    path = Path(path)
    with door(path, "a strategy file"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise BadFileError(f"is no strategy: crossjax optimise-strategy writes files of format {FORMAT!r}")
        version = content.get("version")
        if version != VERSION:
            newer = isinstance(version, int) and version > VERSION
            raise BadFileError(
                f"is a strategy of version {version}, "
                + (f"and this crossjax reads version {VERSION}: update it" if newer else f"not {VERSION}")
            )
        parts = ("factors", "knots", "conductances", "scale")
        if missing := [name for name in parts if name not in content]:
            raise BadFileError(f"lacks {', '.join(missing)}")
        factors, knots, x, scale = (content[name] for name in parts)
        try:
            at, places = (jnp.asarray(np.array(a, float)) for a in (knots, x))
            return Strategy(tuple(map(float, factors)), at, places, float(scale))
        except (ValueError, TypeError) as error:
            raise BadFileError(f"holds no valid strategy: {error}") from error
