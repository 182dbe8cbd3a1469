"""Devices that hold a few conductances only, by every method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import crossjax as cx
from crossjax.devices import MeltQuench, Rewrite, SetPulses
from crossjax.devices.noise import ByPulses
from crossjax.tiles.injection import ideal_reading

W = jax.random.normal(jax.random.key(0), (16, 16))
THREE = cx.Device(g_max=20.0, g_min=2.0, states=3)
CASES = {
    "one shot": (cx.OneShot(), cx.Device(g_max=20.0), cx.bit_slices(1, 1), 1, {0.0, 20.0}),
    "exact": (cx.Exact(), THREE, cx.Pairs(), 2, {2.0, 11.0, 20.0}),
    "iterative": (cx.Iterative(iterations=6, reads=1), THREE, cx.Pairs(), 2, {2.0, 11.0, 20.0}),
    "gdp": (cx.GDP(iterations=6, batch=512), THREE, cx.SharedReference(), 1, {2.0, 11.0, 20.0}),
}


@pytest.mark.parametrize("how", CASES)
def test_every_method_leaves_the_states_and_the_error_of_rounding(key, how):
    method, device, cell, levels, states = CASES[how]
    tile = cx.Tile(16, 16 + cell.extra_columns, device=device, cell=cell, compensation=None)
    chip, _ = cx.program(key, tile, W, method)
    assert set(np.unique(np.asarray(chip.cells.g).round(4)).tolist()) == states
    w = W / jnp.abs(W).max()
    rounded = jnp.round(w * levels) / levels
    wanted = float(jnp.linalg.norm(rounded - w) / jnp.linalg.norm(w))
    found = cx.weights_at(key, tile, chip) / jnp.abs(W).max()
    exact = 5e-3 if how == "gdp" else 1e-3  # which estimates its weights: one near a tie may end on either side
    assert float(jnp.linalg.norm(found - w) / jnp.linalg.norm(w)) == pytest.approx(wanted, rel=exact)
    if how == "one shot":  # three levels of a Gaussian weight
        assert wanted > 0.44 and float(cx.mvm_error(key, tile, chip, W, jnp.eye(16))) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("cell", [cx.bit_slices(2, 3), cx.Pairs((3.0, 1.0)), cx.Pairs((3.0, 1.0), "msp_first")])
def test_several_devices_of_few_states_hold_the_nearest_weight_they_can(cell):
    tile = cx.Tile(16, 16, device=cx.Device(states=4), cell=cell)
    w = W / jnp.abs(W).max()
    g = tile.targets(w)
    assert len(np.unique(np.asarray(g).round(4))) <= 4
    finest = cell.factors[-1] / cell.full_scale / 3
    assert float(jnp.abs(cell.decode(g / 25.0) - w).max()) <= finest / 2 + 1e-6


WRITES = {
    "rewrite": Rewrite(error=None), "melt and quench": MeltQuench(error=None),
    "set pulses": SetPulses(spread=(0.0, 0.0, 0.0), reset_spread=0.1),
}  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
def test_pulses_lead_from_state_to_state_and_small_requests_add_up(key, write):
    device = cx.Device(g_max=20.0, states=5, write=WRITES[write], programming=ByPulses())
    cells = device.reset(key, (400,))
    assert bool((cells.g == 0).all())
    for k in range(4):
        cells, pulses = device.pulse(jax.random.fold_in(key, k), cells, jnp.full(400, 2.0))
        assert set(np.asarray(cells.g).round(4).tolist()) <= {0.0, 5.0, 10.0, 15.0, 20.0}
        if k == 0:  # 2 µS are nearer to 0
            assert not pulses.any() and not cells.g.any()
    assert abs(float(cells.g.mean()) - 8.0) < 3.0 and float(cells.g.mean()) > 4.0


def test_the_error_of_a_write_is_around_its_state(key):
    device = cx.replace(cx.devices.noisy(20.0, sigma=0.01), states=3)
    target = jnp.full(4000, 7.0)
    states = device.program(key, device.reset(key, target.shape), target)
    np.testing.assert_allclose([states.g.mean(), states.g.std()], [10.0, 0.2], rtol=0.05)
    pulsed, _ = device.pulse(key, device.reset(key, target.shape), target)
    np.testing.assert_allclose([pulsed.g.mean(), pulsed.g.std()], [10.0, 0.2], rtol=0.05)


def test_training_sees_the_states_and_passes_straight_through_them(key):
    tile = cx.Tile(16, 16, device=cx.Device(states=2), compensation=None)

    def outputs(w):
        return cx.mvm(key, tile, ideal_reading(key, tile, w), jnp.eye(16))

    y, pull = jax.vjp(outputs, W)
    np.testing.assert_allclose(y, jnp.round(W / jnp.abs(W).max()) * jnp.abs(W).max(), atol=1e-6)
    np.testing.assert_allclose(pull(W)[0], W, rtol=1e-5)


def test_impossible_numbers_of_states_are_refused():
    for wrong in (1, 2.5, True):
        with pytest.raises(ValueError, match="states"):
            cx.Device(states=wrong)
    with pytest.raises(ValueError, match="levels of the cell's digits"):
        cx.Tile(device=cx.Device(states=3), cell=cx.bit_slices(2, 2))
