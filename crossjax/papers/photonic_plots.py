"""Figures of photonic-snn: accuracy against time steps, and what a pulse makes of a synapse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from crossjax import photonic, plot, report
from crossjax.devices.writes import nearest_state

STYLES = (
    ("k", "-"), ("k", "--"), (plot.GREEN, "-"), (plot.BLUE, "-"), (plot.PURPLE, "-"), (plot.BLUE, "--"),
    (plot.ORANGE, "-"),
)  # fmt: skip


def curves(run: report.Run, found: Mapping[str, Any], ann: float) -> None:
    """Errors after every step, a line a network, bands over chips."""
    figure, (axis,) = plot.new(1, width=6.4, height=4.0)
    for (name, a), (colour, dash) in zip(found.items(), STYLES, strict=True):
        a = 100.0 - np.asarray(a)
        plot.band(axis, np.arange(1, a.shape[1] + 1), a, color=colour, ls=dash, label=name)
    axis.axhline(100.0 - ann, color=plot.GREY, ls=":", lw=1, label="with ReLU")
    axis.set(xscale="log", yscale="log", xlabel="time steps T", ylabel="errors, %", title="MNIST by spikes")
    axis.legend(fontsize=7)
    run.plot(
        "steps", figure,
        "Share of test images that are labelled wrongly after T time steps, by weights, reset and crosstalk; bands "
        "over chips, dotted the digital network with ReLU.",
    )  # fmt: skip


def synapse(run: report.Run, pulse: photonic.GSTPulse) -> None:
    """Transmission against the length of the tail, with the levels; what a ring makes of a film."""
    figure, axes = plot.new(2)
    tails = np.linspace(0.0, 1.15 * float(pulse.off), 300)
    axes[0].plot(tails, np.asarray(pulse.written(jnp.asarray(tails))), color=plot.BLUE)
    low, high = pulse.film.transmission(0.0), jnp.asarray(0.2893)
    levels = nearest_state(jnp.linspace(low, high, pulse.levels or 16), pulse.levels, low, high)
    at = jnp.minimum(pulse.length(pulse.film.amorphous(levels)), 1.1 * pulse.off)
    axes[0].plot(np.asarray(at), np.asarray(levels), "o", ms=4, color=plot.ORANGE, label=f"{pulse.levels} levels")
    axes[0].set(xlabel="tail of the pulse, ns", ylabel="transmission", title="GST on a waveguide")
    axes[0].legend(fontsize=8)
    share = jnp.linspace(0.0, 1.0, 200)
    for r in (0.85, 0.9, 0.95):
        ring = photonic.Ring(coupling=r)
        label = f"r = {r:g}" + ("" if bool(ring.monotonic) else ", not monotonic")
        axes[1].plot(np.asarray(share), np.asarray(ring.transmission(share)), label=label)
    axes[1].set(xlabel="crystalline share of the film", ylabel="transmission on resonance", title="An all-pass ring")
    axes[1].legend(fontsize=8)
    run.plot(
        "synapse", figure,
        "Left: transmission of a GST synapse after a pulse, by the length of its tail, with the levels it is written "
        "to. Right: transmission of a ring by the crystalline share of its film; where it is not monotonic a level is "
        "ambiguous.",
    )  # fmt: skip
