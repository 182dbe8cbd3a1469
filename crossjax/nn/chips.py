"""A whole network on a chip: programming, reading at a time, populations, and batch norms that follow the drift.

    analog ──program──► chip ──read(t)──► network at t ──► accuracy
                                   └──adabs(images)──► network at t with its batch norms refreshed

Each step is a pure function that returns a copy, so that a population is a vmap or a stream: see `evaluate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from jax.sharding import PartitionSpec as P

from crossjax._checks import KindError, as_array, ensure, is_array, is_traced
from crossjax._kinds import door
from crossjax._random import named, numbered, split
from crossjax.nn.convert import Model, advance, calibrate, set_key, with_typical_ranges
from crossjax.nn.ops import Conducting, Programmed
from crossjax.nn.walk import layers, matrices, ops, received
from crossjax.population import divided, shared, streamed
from crossjax.programming import History, Method, OneShot


@door
def program(
    key: Array,
    model: Model,
    method: Method = OneShot(),
    *,
    data: Sequence[Any] | None = None,
    ranges: str = "calibrate",
    report: Callable[[str], None] | None = print,
) -> tuple[Model, dict[str, History]]:
    """A copy of a network whose layers are programmed into chips, and the history of every layer's programming.

    Args:
        key: randomness of the chips and of their programming.
        model: a network on tiles.
        method: `OneShot`, `Iterative`, `GDP`, or your own.
        data: what the model is called with, a batch of typical data: the ranges of all converters are calibrated to
            it first (see `calibrate`).
        ranges: without data, "calibrate" gives the ADCs of layers that were never calibrated the ranges that their
            weights need for Gaussian inputs (`crossjax.typical_ranges`); "keep" leaves them as they are.
        report: what to do with the line that says so; None for silence.

    Raises:
        ValueError: for weights that are not finite, a network without tiles, or an unknown choice of ranges.
    """
    _check_ranges(ranges)
    if data is not None:
        model = calibrate(model, *data)
    elif ranges == "calibrate":
        model, found = with_typical_ranges(model)
        if report is not None and found and not any(isinstance(r, jax.core.Tracer) for r in found.values()):
            report(
                "ADC ranges for Gaussian inputs: " + ", ".join(f"{n} {float(r):.3g}" for n, r in found.items())
                + ". Input ranges are as given; program(…, data=(x,)) calibrates both to data"
            )  # fmt: skip
    chip, histories = received(model), {}
    for name, layer, op in layers(chip):
        on, weights = op.on, matrices(layer, op)

        def one(k: Array, w: Array, on: Any = on) -> Any:
            return on.program(k, w, method)

        if weights.shape[0] == 1:
            made, histories[name] = one(named(key, name), weights[0])
            made = jax.tree.map(lambda a: a[None], made)
        else:
            made, histories[name] = jax.vmap(one)(split(named(key, name), weights.shape[0]), weights)
        op.chip, op.reading = Programmed(made), nnx.data(None)
    if not histories:
        raise ValueError("this network has no layers on tiles: convert it with to_analog first")
    return chip, histories


def _check_ranges(ranges: str) -> None:
    if ranges not in ("calibrate", "keep"):
        raise ValueError(f"ranges must be 'calibrate' or 'keep', got {ranges!r}")


def _check_population(chips: int, batch: int, times: Sequence[float]) -> None:
    if chips < 1 or batch < 1 or np.ndim(times) != 1 or not all(0 <= t < math.inf for t in times) or len(times) == 0:
        raise ValueError(
            f"evaluate needs at least one chip, a batch of at least 1 and times ≥ 0 s, got {chips}, {batch} and {times}"
        )


@door
def read(
    key: Array, model: Model, t: Array | float = 0.0, *, compensate: bool = True, straight_through: bool = False
) -> Model:
    """A copy of a programmed network that conducts as it does ``t`` seconds after its first read.

    Drift and 1/f noise are drawn once; every vector the network then sees meets the same conductances.

    Args:
        key: randomness of the reading and of the MVMs that follow.
        model: a programmed network.
        t: seconds after the first read, ≥ 0.
        compensate: drift compensation as the tiles have it (GDC); False for none.
        straight_through: what a gradient by the kernels is. The outputs do not depend on them, so that it is refused
            (a ``ValueError`` when it is taken); True: as if they were what the chips conduct, to tune them in the loop.

    Raises:
        ValueError: for a network that is not programmed, or a negative time.
    """
    now = nnx.clone(model)
    for name, _, op in layers(now):
        if op.chip is None:
            raise ValueError(f"layer {name!r} is not programmed: call crossjax.nn.program(key, model) first")
        on, chips = op.on, op.chip.get_value()
        keys = split(named(named(key, "reading"), name), jax.tree.leaves(chips)[0].shape[0])
        op.straight_through = straight_through
        op.reading = Conducting(jax.vmap(lambda k, c, on=on: on.read(k, c, t, compensate))(keys, chips))
    set_key(now, named(key, "noise"))
    return now


@door
def adabs(model: Model, batches: Array, *, floor: float = 0.015) -> Model:
    """A copy whose batch norms hold the statistics of the network as it is now: adaptive batch-norm statistics.

    Joshi et al., Nat. Commun. 11:2473 (2020): μ ← p μ + (1 − p) μ_B over n batches with p = floor^(1/n), and the
    same for the (biased) variance. No labels are needed. The last batches count most: with 13, the last one 28 %.

    The batches must come from the pipeline that the network was trained with, augmentation included, in random order
    (`crossjax.images.Pipeline.calibration`): with other images a network loses accuracy even without hardware.

    Args:
        model: a network in evaluation mode that can be called: read at some time, or digital.
        batches: calibration inputs, (n, batch, …); Joshi uses 13 batches of 200 images for ResNet-32.
        floor: what is left of the old statistics.

    Raises:
        ValueError: for a network without batch norms, no batches, or a floor outside (0, 1).
    """
    batches = batches if is_array(batches) else jnp.asarray(as_array("batches", batches))
    count = batches.shape[0] if batches.ndim > 1 else 0
    if count == 0 or not 0 < floor < 1:
        raise ValueError(f"adabs needs batches (n, batch, …) and a floor in (0, 1), got {count} batches and {floor}")
    now = nnx.clone(model)
    norms = [m for _, m in nnx.iter_modules(now) if isinstance(m, nnx.BatchNorm)]
    if not norms:
        raise ValueError("adabs refreshes batch norms, and this network has none")
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = floor ** (1.0 / count)
        norm.use_running_average = False
    graph, stats, rest = nnx.split(now, nnx.BatchStat, ...)

    def step(stats: nnx.State, at: tuple[Array, Array]) -> tuple[nnx.State, None]:
        trained = nnx.merge(graph, stats, rest, copy=True)
        for op in ops(trained):  # noise of its own, not what the same batch of a test will meet
            op.key.set_value(named(op.key.get_value(), "adabs"))
        advance(trained, at[0])
        _call(trained, at[1])
        return nnx.state(trained, nnx.BatchStat), None

    nnx.update(now, lax.scan(step, stats, (jnp.arange(count), batches))[0])
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
        norm.use_running_average = True
    return now


def _call(model: Any, batch: Array) -> None:
    """Call a network with one of several batches, or say that the axis of batches, or of the batch, is missing."""
    hint = f"adabs calls the network with one of the batches (n, batch, …) at a time, here of shape {batch.shape}"
    try:
        found = model(batch)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{hint}, which it does not take: {' '.join(str(error).split())[:200]}") from error
    shape = jnp.shape(jax.tree.leaves(found)[0])
    if len(shape) < 2 or shape[0] != batch.shape[0]:
        raise ValueError(f"{hint}, and it gives {shape}, not one row for each example: is an axis missing?")


@door
def evaluate(
    key: Array,
    model: nnx.Module,
    measure: Callable[[Any], Any],
    *,
    chips: int = 8,
    times: Sequence[float] = (0.0,),
    method: Method = OneShot(),
    compensate: bool = True,
    ranges: str = "calibrate",
    batch: int = 1,
    devices: Sequence[Any] | None = None,
) -> Any:
    """What ``measure`` finds in a population of chips at several times, as one computation.

        accuracy = cx.nn.evaluate(key, analog, lambda net: cx.nn.accuracy(net, images, labels), times=[25.0, 86_400.0])

    Args:
        key: randomness of chips, programming and readings.
        model: a network on tiles, in evaluation mode (``model.eval()``).
        measure: a pure function of the network at one moment; returns arrays.
        chips: how many chips.
        times: seconds after the first read.
        method: how they are programmed.
        compensate: see `read`.
        ranges: see `program`.
        batch: how many chips are computed side by side, on each device; 1 streams them, which is also the fastest for
            convolutions on a CPU.
        devices: what to divide the chips among, as many as divide their number evenly; None: all, unless the network
            was put on some of them (`jax.device_put`).

    Returns:
        What ``measure`` returns, with axes (chips, times) in front.

    Raises:
        ValueError: for a network without tiles, no chips, no times, no devices, or a negative time.
    """
    _check_population(chips, batch, times)
    _check_ranges(ranges)
    if ranges == "calibrate":
        model, _ = with_typical_ranges(model)
    graph, state = nnx.split(model)

    def run(keys: Array, state: nnx.State, times: Array) -> Any:
        def one(k: Array) -> Any:
            programmed, _ = program(named(k, "program"), nnx.merge(graph, state, copy=True), method, ranges="keep")
            made, chip = nnx.split(programmed)

            def at(n: Array) -> Any:
                now = nnx.merge(made, chip, copy=True)
                return measure(read(numbered(named(k, "time"), n), now, times[n], compensate=compensate))

            return lax.map(at, jnp.arange(len(times)))

        return streamed(one, keys, batch)

    mesh = divided(chips, (key, state), devices)
    on = jax.jit(run) if mesh is None else shared(run, mesh, P("chips"), (P("chips"), P(), P()))
    return on(split(key, chips), state, jnp.asarray(times, jnp.zeros(()).dtype))


@door
def logits(model: nnx.Module, images: Array, batch: int = 500) -> Array:
    """Outputs for many inputs (n, …), ``batch`` at a time, each with noise of its own; what is left over goes last."""
    images = images if is_array(images) else jnp.asarray(as_array("images", images))
    if batch < 1 or images.ndim < 1 or images.shape[0] == 0:
        raise ValueError(f"batch must be at least 1 and images (n, …), got {batch} and shape {images.shape}")
    batch = min(batch, images.shape[0])
    graph, state = nnx.split(model)

    def some(at: tuple[Array, Array]) -> Array:
        net = nnx.merge(graph, state, copy=True)
        advance(net, at[0])
        return _outputs(net, at[1])

    count = images.shape[0] // batch
    body = lax.map(some, (jnp.arange(count), images[: count * batch].reshape(count, batch, *images.shape[1:])))
    body = body.reshape(count * batch, *body.shape[2:])
    rest = images[count * batch :]
    return body if rest.shape[0] == 0 else jnp.concatenate([body, some((jnp.asarray(count), rest))])


def _outputs(model: Any, images: Array) -> Array:
    """Call a network, or say that it does not take what it is given."""
    try:
        return model(images)
    except (TypeError, ValueError) as error:
        because = " ".join(str(error).split())[:200]
        raise ValueError(f"the network does not take images of shape {images.shape}: {because}") from error


@door
def accuracy(model: nnx.Module, images: Array, labels: Array, batch: int = 500) -> Array:
    """Fraction of images (n, …) whose largest output is their label (n,); NaN if an output is NaN.

    Raises:
        ValueError: for labels that are not whole numbers, not as many as images, or not among the outputs, and for
            images that the network does not take.
    """
    found = logits(model, images, batch)
    labels = labels if is_traced(labels) else jnp.asarray(as_array("labels", labels))
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise KindError(f"labels must be whole numbers, got {labels.dtype}")
    if labels.shape != found.shape[:-1]:
        raise ValueError(f"labels must be one for every output {found.shape[:-1]}, got shape {labels.shape}")
    classes = found.shape[-1]
    ensure(lambda y: (y >= 0) & (y < classes), f"labels must be between 0 and {classes - 1}", labels)
    right = jnp.mean(jnp.argmax(found, axis=-1) == labels)
    return jnp.where(jnp.isnan(found).any(), jnp.nan, right)
