"""A device at a glance: what programming misses, how it drifts, its noise, and what pulses do to it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from crossjax._checks import KindError, shown
from crossjax.devices.device import Device
from crossjax.plot import style

SAMPLES = 400  # devices at every target
CAPTION = (
    "A device. Programming: standard deviation of what is left of a target at the first read (points: samples). "
    "Drift: exponent, or share lost, of sampled devices by target. Noise: standard deviation of accumulated 1/f noise "
    "after a day and of one MVM, by conductance. Ageing: median and central 68 % of devices by time. Pulses: equal "
    "write pulses from RESET, mean and one standard deviation."
)


def device(device: Device, *, axes: Any = None, key: Any = None) -> list[Any]:
    """Programming error, drift, noise, ageing and the response to pulses of a device, with samples.

    Args:
        device: the device; of a `Mixed` one of its parts.
        axes: five axes to draw on; default: a new figure.
        key: of the samples; default `jax.random.key(0)`.

    Returns:
        The axes.

    Raises:
        TypeError: for something that is no device.
        ValueError: for another number of axes.
    """
    if not isinstance(device, Device):
        raise KindError(f"plot.device draws a Device (of a Mixed one of its parts), got {shown(device)}")
    drawn = style.given(axes, 5)
    key = jax.random.key(0) if key is None else key
    targets = jnp.linspace(device.g_min, device.g_max, 21)
    times = jnp.asarray([0.0, *np.geomspace(10.0, 3.15e7, 24)])
    sampled = _sample(key, device, targets, times)
    _programming(drawn[0], device, targets, sampled["programmed"])
    _drift(drawn[1], device, targets, sampled["nu"])
    _noise(drawn[2], device, targets)
    _ageing(drawn[3], times, sampled["aged"])
    _pulses(drawn[4], sampled["pulsed"])
    return drawn


@jax.jit
def _sample(key: Any, device: Device, targets: Any, times: Any) -> dict[str, Any]:
    shape = (SAMPLES, len(targets))
    kp, ka, kr, kw = jax.random.split(key, 4)
    state = device.program(kp, device.reset(kr, shape), jnp.broadcast_to(targets, shape))
    some = jax.tree.map(lambda a: a[:, 4::8], state)  # three targets: a fifth, three fifths and the largest but one
    aged = lax.map(lambda t: device.at(ka, some, t), times)

    def pulse(state: Any, k: Any) -> tuple[Any, Any]:
        state, _ = device.pulse(k, state, jnp.full((SAMPLES,), (device.g_max - device.g_min) / 20))
        return state, state.g

    fresh = device.reset(kr, (SAMPLES,))
    pulsed = lax.scan(pulse, fresh, jax.random.split(kw, 30))[1]
    return {"programmed": state.g, "nu": state.nu, "aged": aged, "pulsed": jnp.concatenate([fresh.g[None], pulsed])}


def _programming(axis: Any, device: Device, targets: Any, g: Any) -> None:
    error = np.asarray(g) - np.asarray(targets)
    axis.plot(targets, error.std(axis=0), ".", label="samples")
    law: Any = device.programming
    if hasattr(law, "deviation"):
        axis.plot(targets, np.broadcast_to(law.deviation(targets, device.g_max), targets.shape), label="law")
    axis.set(xlabel="target (µS)", ylabel="σ of programming (µS)", title="Programming", ylim=(0, None))
    axis.legend()


def _drift(axis: Any, device: Device, targets: Any, nu: Any) -> None:
    if nu is None:
        return _nothing(axis, "Drift", "this device does not drift")
    axis.plot(np.broadcast_to(targets, nu.shape)[::8].ravel(), np.asarray(nu)[::8].ravel(), ".", ms=2, alpha=0.4)
    style.band(axis, np.asarray(targets), nu, color=style.ORANGE)
    axis.set(xlabel="target (µS)", ylabel="what drift drew (ν of a power law)", title="Drift")


def _noise(axis: Any, device: Device, g: Any) -> None:
    curves = {}
    if device.flicker is not None:
        curves["1/f, after a day"] = g * device.flicker.q(g / device.g_max) * device.flicker.growth(86_400.0)
    if (variance := device.read_variance(g)) is not None:
        curves["one MVM"] = jnp.sqrt(variance)
    if not curves:
        return _nothing(axis, "Noise", "this device is quiet")
    for label, values in curves.items():
        axis.plot(g, np.broadcast_to(values, g.shape), label=label)
    axis.set(xlabel="conductance (µS)", ylabel="σ of noise (µS)", title="Noise", ylim=(0, None))
    axis.legend()


def _ageing(axis: Any, times: Any, aged: Any) -> None:
    shown = np.maximum(np.asarray(times), 1.0)
    for k in range(aged.shape[-1]):
        low, middle, high = np.percentile(np.asarray(aged)[:, :, k], (16, 50, 84), axis=1)
        (line,) = axis.plot(shown, middle)
        axis.fill_between(shown, low, high, color=line.get_color(), alpha=0.2, lw=0)
    style.time_axis(axis, shown)
    axis.set(ylabel="conductance (µS)", title="Ageing", ylim=(0, None))


def _pulses(axis: Any, g: Any) -> None:
    style.band(axis, range(len(g)), np.asarray(g).T)
    axis.set(xlabel="write pulses (asked for g_max / 20 each)", ylabel="conductance (µS)", title="Pulses")


def _nothing(axis: Any, title: str, said: str) -> None:
    axis.set(title=title, xticks=[], yticks=[])
    axis.text(0.5, 0.5, said, ha="center", va="center", transform=axis.transAxes, color=style.GREY)


def strategy(cell: Any, *, axes: Any = None) -> Any:
    """Normalised conductances of a cell (a `crossjax.Strategy`, `Pairs` …) over the weight.

    Args:
        cell: any unit cell whose `encode` gives the places of its devices.
        axes: where to draw; default: a new figure.

    Returns:
        The axes.
    """
    (axis,) = style.given(axes, 1)
    w = np.linspace(-1.0, 1.0, 401)
    x = np.asarray(cell.encode(jnp.asarray(w)[:, None]))[:, :, 0]  # a reference column is left out
    factors = [float(f) for f in getattr(cell, "factors", ())]
    names = [f"{pair}{sign}" for pair in ("GgabcdeHIJK"[: len(factors)]) for sign in "⁺⁻"]
    names = names or [f"device {k + 1}" for k in range(len(x))]
    colours = [style.BLUE, style.SKY, style.ORANGE, style.YELLOW, *[style.GREY] * 20]
    for row, name, colour in zip(x, names, colours, strict=False):
        axis.plot(w, row, color=colour, label=name)
    title = f"Factors {', '.join(f'{f:g}' for f in factors)}" if factors else type(cell).__name__
    axis.set(xlabel="weight / largest weight", ylabel="(G − g_min) / (g_max − g_min)", title=title)
    axis.legend(fontsize=8)
    return axis
