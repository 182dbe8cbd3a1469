"""Tiles and networks whose arrays have wires."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients

import crossjax as cx
from crossjax.circuits.wires import (
    effective_conductance,
    rasch_drop,
)

pytestmark = pytest.mark.slow


# ----------------------------------------------------------------------------------- tiles


def wired(pairs="separate", r=20.0, n=32, gradient="exact"):
    return cx.Tile(n, n, device=cx.devices.ideal(), wires=cx.Wires(r, r, pairs=pairs, gradient=gradient))


def test_a_tile_without_resistance_is_the_tile_without_wires(x64, key):
    w, x = jax.random.normal(key, (40, 20)), jax.random.normal(jax.random.key(1), (3, 40))
    for pairs in ("separate", "interleaved"):
        tile = wired(pairs, r=0.0, n=16)
        np.testing.assert_allclose(cx.mvm(key, tile, cx.program(key, tile, w)[0], x), x @ w, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pairs", ["separate", "interleaved"])
@pytest.mark.parametrize("subtract", ["analog", "digital"])
def test_a_tile_computes_what_its_network_conducts(x64, key, pairs, subtract):
    tile = cx.replace(wired(pairs, n=8), subtract=subtract)
    w, x = jax.random.normal(key, (8, 5)), jax.random.normal(jax.random.key(1), (3, 8))
    chip, _ = cx.program(key, tile, w)
    g = chip.cells.g[:, 0, 0]
    if pairs == "separate":
        plus, minus = (effective_conductance(a, 20.0, 20.0) for a in g)
    else:
        both = effective_conductance(jnp.stack([g[0], g[1]], axis=-1).reshape(8, 10), 20.0, 20.0)
        plus, minus = both[:, 0::2], both[:, 1::2]
    np.testing.assert_allclose(
        cx.mvm(key, tile, chip, x), x @ (plus - minus) / 25.0 * chip.scale[0, 0], rtol=1e-9, atol=1e-9
    )


def test_a_static_drop_is_the_published_one_on_every_tile_of_a_matrix(x64, key):
    """37 rows on tiles of 16: three of 13, the last row of the last tile unused and nearest to the sense node."""
    drop = cx.wires.StaticDrop(segment=50.0, g_ref=25.0)
    tile = cx.Tile(16, 8, device=cx.devices.ideal(), wires=drop, compensation=None)
    w, x = jax.random.normal(key, (37, 6)), jax.random.normal(jax.random.key(1), (4, 37))
    chip, _ = cx.program(key, tile, w)
    wanted = 0.0
    for k, scale in enumerate(chip.scale[:, 0]):
        rows = np.s_[13 * k : 13 * k + 13]
        part, u = np.pad(w, ((0, 2), (0, 0)))[rows] / scale, np.pad(x, ((0, 0), (0, 2)))[:, rows]
        wanted += rasch_drop(jnp.asarray(part), jnp.asarray(u), segment=50.0, g_max=25.0) * scale
    np.testing.assert_allclose(cx.mvm(key, tile, chip, x), wanted, rtol=1e-9)
    off = cx.replace(tile, wires=None)
    none = cx.replace(tile, **{"wires.segment": 0.0})
    np.testing.assert_allclose(cx.mvm(key, none, chip, x), cx.mvm(key, off, chip, x), rtol=1e-12)
    assert float(jnp.abs(cx.mvm(key, off, chip, x) - wanted).max()) > 1e-3

    def loss(args):
        x, drop = args
        return jnp.sum(jnp.sin(cx.mvm(key, cx.replace(tile, wires=drop), chip, x)))

    check_gradients(jax.jit(loss), (x, drop), rtol=1e-6, step=1e-6)


def test_a_network_trains_through_its_wires(x64, key):
    """Weights learned through the network's solution make up for its drops; an ideal gradient gets part of it."""
    x = jax.random.normal(jax.random.key(1), (64, 16))
    wanted = x @ jax.random.normal(key, (16, 8))
    errors = {}
    for gradient in ("exact", "ideal"):
        tile = wired(r=200.0, n=16, gradient=gradient)

        def loss(w, tile=tile):
            chip, _ = cx.program(key, tile, w)
            return jnp.mean((cx.mvm(key, tile, chip, x) - wanted) ** 2)

        w, step = jax.random.normal(key, (16, 8)), jax.jit(jax.value_and_grad(loss))
        first = None
        for _ in range(150):
            value, slope = step(w)
            first = value if first is None else first
            w = w - 0.5 * slope
        errors[gradient] = float(value / first)
    assert errors["exact"] < 0.05 and errors["exact"] <= errors["ideal"] < 0.5


@pytest.mark.thorough
def test_gradient_programming_compensates_wires_that_reading_cells_cannot_see(key):
    tile = cx.replace(
        cx.presets.hermes(), rows=64, cols=64, wires=cx.Wires(10.0, 10.0), compensation=None,
        adc=cx.ADC(range=8.0), noise=0.01, **{"device.flicker": None, "device.drift": None},
    )  # fmt: skip
    w = jnp.clip(jax.random.normal(key, (64, 64)), -3, 3)
    errors = {}
    methods = {"cell": cx.Iterative(verify="cell"), "mvm": cx.Iterative(), "gdp": cx.GDP(iterations=60, batch=512)}
    for name, how in methods.items():
        chip, _ = cx.program(key, tile, w, how)
        errors[name] = float(cx.mvm_error(key, tile, chip, w))
    assert errors["gdp"] < 0.5 * errors["cell"]
    assert errors["mvm"] < 0.5 * errors["cell"], "reads through the lines that count for long enough see them too"
