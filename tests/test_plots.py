"""Plots: axes in, axes out, and what they show is what was computed."""

import itertools

import jax
import jax.numpy as jnp
import matplotlib.colors
import numpy as np
import pytest

import crossjax as cx
from crossjax import plot

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
W = jax.random.normal(jax.random.key(1), (24, 12))


def chip(tile=None):
    tile = cx.replace(cx.presets.hermes(), rows=32, cols=32) if tile is None else tile
    return tile, cx.program(KEY, tile, W, cx.OneShot())[0]


@pytest.mark.parametrize("name", ["pcm", "pcm_pulsed", "reram_cmo", "ideal"])
def test_a_device_is_drawn_with_its_samples(name):
    axes = plot.device(cx.devices.get(name))
    assert [a.get_title() for a in axes] == ["Programming", "Drift", "Noise", "Ageing", "Pulses"]
    axes[0].figure.canvas.draw()
    if name == "pcm":
        samples, law = (line.get_ydata() for line in axes[0].lines)
        np.testing.assert_allclose(samples[3:], law[3:], rtol=0.15)


def test_a_chip_shows_its_errors_and_its_faults():
    tile = cx.replace(cx.presets.pcm(), rows=16, cols=16, **{"device.faults": cx.Faults(low=0.1)})
    axes = plot.chip(*chip(tile), W, t=3600.0)
    found = axes[2].images[0].get_array()
    np.testing.assert_allclose(found, (cx.weights_at(KEY, *chip(tile), 3600.0) - W) / jnp.abs(W).max(), atol=1e-6)
    assert "stuck" in axes[1].get_title() and axes[0].images[0].get_array().shape == W.shape
    assert len(plot.chip(*chip())) == 2


def test_the_inputs_of_an_adc_are_those_that_it_converts():
    tile, one = chip()
    quiet = cx.replace(tile, noise=None)
    x = jax.random.normal(KEY, (50, 24)) / 3
    seen = cx.adc_inputs(KEY, quiet, one, x, 60.0)
    now = cx.read(KEY, quiet, one, 60.0)
    y = cx.mvm(KEY, cx.replace(quiet, adc=cx.ADC(bits=None, range=1e6)), now, x)
    np.testing.assert_allclose(np.sort(seen), np.sort(np.ravel(y / now.scale[0, 0, 0])), rtol=1e-4, atol=1e-5)
    assert "saturate" in plot.adc_use(tile, one, x).get_title()
    with pytest.raises(ValueError, match="no ADC"):
        plot.adc_use(*chip(cx.presets.pcm()), x)


def test_curves_bands_and_maps():
    _, history = jax.vmap(lambda k: cx.program(k, chip()[0], W, cx.GDP(iterations=5)))(jax.random.split(KEY, 3))
    assert len(plot.history(history).lines) == 2
    runs = np.random.default_rng(0).normal(size=(50, 3))
    axis = plot.population([0.0, 60.0, 3600.0], runs, label="a")
    np.testing.assert_allclose(axis.lines[0].get_ydata(), np.median(runs, 0))
    plot.population([0.0, 60.0, 3600.0], runs, axes=axis, band="sd")
    assert len(axis.lines) == 2
    assert plot.sweep([1, 2, 3], [0.1, 0.2, 0.3]).lines
    assert plot.sweep(([1, 2], [1, 2, 3]), np.ones((2, 3)), names=("a", "b")).get_xlabel() == "b"
    g, v = jnp.ones((5, 4)) * 10.0, jnp.full(5, 0.2)
    assert len(plot.line_voltages(cx.wires.solve(g, v, 2.0, 2.0))) == 2
    assert "worst" in plot.ir_drop(g, cx.wires.effective_conductance(g, 2.0, 2.0)).get_title()
    assert len(plot.strategy(cx.Pairs((2.0, 1.0))).lines) == 4
    assert len(plot.strategy(cx.SharedReference()).lines) == 1
    assert plot.sweep((4, 8), [0.1, 0.2]).lines
    assert [t.get_text() for t in plot.population([1.0, 5.0, 20.0], runs).get_xticklabels()] == ["1 s", "20 s"]


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: plot.device(cx.devices.pcm(), axes=plot.new(2)[1]), "takes 5 axes, got 2"),
        (lambda: plot.population([0.0], np.ones((2, 3))), r"\(chips, times\)"),
        (lambda: plot.population([0.0], np.ones((2, 1)), band="se"), "quantiles"),
        (lambda: plot.sweep([1, 2], [1.0]), "values of the knob"),
        (lambda: plot.sweep(([1, 2], [1]), np.ones((3, 3))), "two knobs"),
        (lambda: plot.ir_drop(np.ones((2, 2)), np.ones((2, 3))), "one shape"),
        (lambda: plot.chip(*chip(), W[:, :1]), "weights have"),
        (lambda: plot.chip(chip()[0], jax.tree.map(lambda a: a[None], chip()[1])), "population"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Machado, Oliveira & Fernandes, IEEE TVCG 15:1291 (2009), severity 1: what people without one kind of cone see
SEEN = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("eye", SEEN)
def test_colours_of_methods_are_told_apart_by_every_eye(eye):
    def lab(colour):
        rgb = np.asarray(matplotlib.colors.to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        linear = np.clip(np.asarray(SEEN[eye]) @ linear, 0, 1)
        xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
        f = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 1e-9))
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    for a, b in itertools.combinations(plot.COLOURS.values(), 2):
        assert np.linalg.norm(lab(a) - lab(b)) > 15, (eye, a, b)
