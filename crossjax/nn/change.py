"""Networks on hardware with something changed: the tiles of their layers, the step that a call is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from crossjax._checks import KindError, ensure, is_array, shown
from crossjax._kinds import door
from crossjax.nn.hardware import as_hardware, is_hardware
from crossjax.nn.ops import Held, Step
from crossjax.nn.walk import Model, layers, matrices, ops


@door
def map_tiles(model: Model, f: Callable[[str, Any], Any]) -> Model:
    """A copy of a network with other hardware under its layers: ``f(path, tile)`` is the new tile of each.

        coarse = cx.nn.map_tiles(net, lambda path, tile: cx.replace(tile, **{"adc.bits": 6}))

    Chips stay what they are, so that a programmed network is to be read again, and refuses a tile of another kind then.
    A learned input range goes on from the new tile's.

    Args:
        model: a network on hardware.
        f: its tile, learned input range included, to the one that takes its place.

    Raises:
        ValueError: for a network without tiles, or a new tile without an input range where one is learned.
        TypeError: if ``f`` returns something else than hardware.
    """
    model = nnx.clone(model)
    if not any(True for _ in ops(model)):
        raise ValueError("this network has no layers on tiles: convert it with to_analog first")
    for name, _, op in layers(model):
        name, made = name or "the model", f(name, op.hardware())
        if not is_hardware(made):
            raise KindError(f"the new tile of {name} must be a Tile or other hardware, got {shown(made)}")
        if op.input_range is not None:
            learned = as_hardware(made).input_range
            if learned is None:
                raise ValueError(f"{name} learns its input range, and its new tile has no fixed one")
            op.input_range.set_value(jnp.asarray(learned, op.input_range.get_value().dtype))
        op.put(made)
        op.reading = nnx.data(None)
    return model


def at_step(model: Model, n: Array | int) -> Model:
    """The network as it is called at step ``n``: the same parameters and chips, noise of its own.

        h = cx.nn.at_step(self.cell, n)(h, x)  # in a loop over n, or the body of a scan

    For calls of one layer that may meet equal inputs, which without it see equal noise: the steps of a recurrence, two
    uses in one pass. Steps nest: one of a network at a step is another. What the chip conducts, or is thought to in
    training, is that of one chip at all steps. A digital network is returned as it is.

    Args:
        model: a network, or a layer of it; its variables are shared, not copied.
        n: the step, a whole number ≥ 0, traced or not.

    Raises:
        TypeError: for a step that is not one whole number.
        ValueError: for a negative one.
    """
    step: Any = n
    if not (jnp.issubdtype(step.dtype, jnp.integer) and step.shape == () if is_array(n) else type(n) is int):
        raise KindError(f"n must be one whole number, got {shown(n)}")
    ensure(lambda n: n >= 0, "n must be ≥ 0", n)
    if not any(True for _ in ops(model)):
        return model
    model = nnx.view(model)
    for op in ops(model):
        before = () if op.step is None else op.step.get_value()
        op.step = Step(jnp.append(jnp.asarray(before, jnp.uint32), jnp.asarray(n).astype(jnp.uint32)))
    return model


@door
def held(model: Model) -> Model:
    """The network with what its layers multiply with worked out once, for a loop that calls it many times.

        gates = cx.nn.held(self.gates)  # before a scan over time
        z = cx.nn.at_step(gates, n)(xh)  # in its body

    In training the disturbed weights of the one chip that a batch meets are drawn before the loop and not at every
    step of it; the results are the same. Gradients go through. A layer that is digital or being calibrated is as it is.

    Args:
        model: a network, or a layer of it; its variables are shared, not copied.
    """
    if not any(True for _ in ops(model)):
        return model
    model = nnx.view(model)
    for _, layer, op in layers(model):
        if op.conducts and op.held is None:
            op.held = Held(op.readings(matrices(layer, op)))
    return model


def is_observed(model: nnx.Module) -> bool:
    """Whether a calibration is looking at what the layers receive: their calls cannot be in a scan then."""
    return any(op.observe is not None for op in ops(model))
