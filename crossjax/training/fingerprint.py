"""What decides a training run, in digests, so that a checkpoint goes on with the run that made it and with no other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from crossjax.nn.ops import Tiles
from crossjax.training.checkpoints import plain
from crossjax.training.order import Order, shuffled
from crossjax.training.steps import GradientStep, Step, on_batch


def fingerprint(
    key: Array, graph: Any, carry: tuple[Any, Any, Any], data: tuple[np.ndarray, np.ndarray], batch: int, step: Step,
    prepare: Callable[..., Any] | None, order: Order,
) -> dict[str, str]:  # fmt: skip
    """Digests of everything that a run of `crossjax.training.fit` follows from, by what it is called there.

    Functions are what they compute: the programs that JAX makes of the loss, of ``prepare`` and of the optimiser's
    update, or of the whole of another step, with all numbers in them, learning rates and schedules included; of
    another order of the data its first epoch. ``remat`` and how often a run saves itself do not count.
    """
    params, rest, state = carry
    x, y = (jax.ShapeDtypeStruct((batch, *a.shape[1:]), jax.dtypes.canonicalize_dtype(a.dtype)) for a in data)
    tiles = [v.get_value() for v in jax.tree.leaves(rest, is_leaf=_is_variable) if isinstance(v, Tiles)]
    found = {
        "key": _digest(_numbers(key)),
        "data": _digest(_numbers(data)),
        "batch": str(batch),
        "network": _digest(_shapes(params), _shapes(rest)),
        "starting numbers": _digest(_numbers(params), _numbers(rest)),
        "tile": _digest([str(jax.tree.structure(tiles))], _numbers(tiles)),
    }
    if order is not shuffled:
        found["order"] = _digest(_numbers(order(key, 0, len(data[0]))))
    if not isinstance(step, GradientStep):
        program = _program(on_batch(graph, step, prepare), params, rest, state, key, x, y)
        return found | {"step or prepare": _digest(program, _numbers(state))}
    loss, update = step.loss, step.optimiser.update

    def forward(params: Any, rest: Any, key: Array, x: Array, y: Array) -> Any:
        model = nnx.merge(graph, params, rest, copy=True)
        model.train()
        return loss(model, x if prepare is None else prepare(key, x), y)

    return found | {
        "optimiser": _digest(_program(update, params, jax.eval_shape(lambda: state), params), _numbers(state)),
        "loss or prepare": _digest(_program(forward, params, rest, key, x, y)),
    }


def _is_variable(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Variable)


def _digest(*parts: Any) -> str:
    found = hashlib.sha256()
    for part in parts:
        for piece in part:
            found.update(piece.encode() if isinstance(piece, str) else piece)
    return found.hexdigest()[:16]


def _shapes(tree: Any) -> Iterator[str]:
    for path, leaf in jax.tree.leaves_with_path(tree):
        yield f"{jax.tree_util.keystr(path)} {jnp.shape(leaf)} {jnp.result_type(leaf)}"


def _numbers(tree: Any) -> Iterator[str | memoryview]:
    for leaf in jax.tree.leaves(tree):
        a = plain(leaf)
        yield f"{a.shape} {a.dtype}"
        yield np.ascontiguousarray(a).reshape(-1).view(np.uint8).data


def _program(function: Callable[..., Any], *args: Any) -> Iterator[str | memoryview]:
    """What a function computes, as JAX writes it, less addresses in memory."""
    found = jax.make_jaxpr(function)(*args)
    yield re.sub(r"0x[0-9a-f]+", "", str(found))
    yield from _numbers(found.consts)
