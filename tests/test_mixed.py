"""Cells of devices of several kinds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients

import crossjax as cx
from crossjax import devices
from crossjax.devices import Mixed

KEY = jax.random.key(0)
W = jax.random.normal(jax.random.key(1), (20, 12)) / 3
X = jax.random.normal(jax.random.key(2), (64, 20)) / 3
CELL = cx.Pairs((4.0, 1.0))
STILL = devices.noisy(10.0)
MIXED = Mixed((devices.pcm(), STILL))


def tile(device=MIXED, **more):
    return cx.Tile(16, 16, device=device, cell=CELL, **more)


def test_two_shares_of_one_kind_are_that_kind():
    one = devices.ideal()
    for method in (cx.OneShot(), cx.Iterative(), cx.GDP(iterations=5, batch=64)):
        chips = [cx.program(KEY, tile(d), W, method)[0] for d in (one, Mixed((one, one)), Mixed((one,) * 4))]
        for chip in chips[1:]:
            np.testing.assert_array_equal(chip.cells.g, chips[0].cells.g)
    pcm = devices.pcm()
    keys = jax.random.split(KEY, 64)
    errors = [
        jax.vmap(lambda k, t=tile(d): cx.mvm_error(k, t, cx.program(k, t, W)[0], W, X, 1e6))(keys)
        for d in (pcm, Mixed((pcm, pcm)))
    ]
    difference, noise = (f(np.asarray(errors), axis=1) for f in (np.mean, lambda a, axis: np.std(a, axis=axis) / 8))
    assert abs(np.subtract(*difference)) < 4 * np.hypot(*noise)


def test_every_kind_is_written_and_ages_by_its_own_laws():
    chip, _ = cx.program(KEY, tile(), W, count=True)
    assert chip.hardware[1:3] == ("drift PowerLawDrift + none", "1/f noise FlickerNoise + none")
    now, later = (MIXED.at(KEY, chip.cells, t) for t in (0.0, 1e7))
    loss = jnp.sum(later[:2]) / jnp.sum(now[:2])
    assert 0.4 < loss < 0.8 and jnp.array_equal(now[2:], later[2:]) and jnp.array_equal(later[2:], chip.cells.g[2:])
    missed = chip.cells.g - chip.cells.target
    deviation = STILL.programming.deviation(chip.cells.target[2:], STILL.g_max)
    used = chip.cells.target[2:] > 0.2 * STILL.g_max
    assert jnp.std((missed[2:] / deviation)[used]) == pytest.approx(1.0, abs=0.2)
    assert jnp.max(chip.cells.target[:2]) <= 25.0 and jnp.max(chip.cells.target[2:]) <= 10.0 + 1e-4
    variance = MIXED.read_variance(now)
    assert jnp.all(variance[:2][now[:2] > 1] > 0) and not jnp.any(variance[2:])


def test_a_weight_is_shared_in_spans_of_its_own_kinds():
    exact = Mixed((devices.ideal(25.0), devices.ideal(5.0)))
    chip, _ = cx.program(KEY, tile(exact), W, cx.Exact())
    np.testing.assert_allclose(cx.weights_at(KEY, tile(exact), chip), W, atol=1e-6)
    np.testing.assert_allclose(cx.mvm(KEY, tile(exact), chip, X), X @ W, atol=1e-5)
    wired = tile(exact, wires=cx.Wires(2.0, 2.0))
    assert 1e-5 < cx.mvm_error(KEY, wired, chip, W, X) < 0.1  # µS of each kind, in one network each


@pytest.mark.slow
def test_every_method_programs_and_repairs_them():
    mixed = tile(Mixed((devices.hermes(), devices.Device(write=devices.SetPulses()))))
    methods = cx.OneShot(), cx.Iterative(iterations=10), cx.GDP(iterations=30, batch=128), cx.RowWise(rounds=5)
    error = {}
    for method in methods:
        chip, _ = cx.program(KEY, mixed, W, method, count=True)
        error[type(method)] = float(cx.mvm_error(KEY, mixed, chip, W, X))
        assert error[type(method)] < 0.5 and jnp.sum(chip.cells.pulses) > 0
        again, _ = cx.program(KEY, mixed, W, method, chip=chip, t=3e7)
        aged = float(cx.mvm_error(KEY, mixed, chip, W, X, 3e7))
        assert float(cx.mvm_error(KEY, mixed, again, W, X, again.time)) < max(aged, 0.1)
    assert error[cx.GDP] < 0.1 and error[cx.Iterative] < 0.15


def test_a_write_reaches_what_it_is_asked_for_and_nothing_else():
    mixed = Mixed((devices.hermes(), devices.Device(write=devices.SetPulses(), drift=devices.pcm().drift)))
    chip, _ = cx.program(KEY, tile(mixed), W)
    rows = jnp.arange(20)[:, None] < 5
    new, pulses = cx.write(KEY, tile(mixed), chip, -0.2 * W, where=rows, t=100.0)
    assert pulses > 0
    kept = jax.tree.map(lambda a, b: jnp.array_equal(a[:, :, :, 5:], b[:, :, :, 5:]), chip.cells.g, new.cells.g)
    assert kept and not jnp.array_equal(chip.cells.g, new.cells.g)
    assert jnp.array_equal(new.cells.nu[:, 1], chip.cells.nu[:, 1])  # the second tile: no row of it was asked for
    same, pulses = cx.write(KEY, tile(mixed), new, jnp.zeros_like(W), t=200.0)
    assert pulses == 0 and jnp.array_equal(same.cells.g, new.cells.g)


def test_faults_and_ceilings_are_of_the_kind_that_has_them():
    faulty = cx.replace(STILL, faults=cx.Faults(high=0.5))
    limited = cx.replace(STILL, ceiling=0.3)
    chip = cx.build(KEY, tile(Mixed((faulty, limited))), (64, 40))
    stuck, ceiling = chip.cells.stuck.mask, chip.cells.ceiling
    assert jnp.mean(stuck[:2]) == pytest.approx(0.5, abs=0.05) and not jnp.any(stuck[2:])
    assert jnp.all(jnp.isinf(ceiling[:2])) and jnp.std(ceiling[2:]) == pytest.approx(3.0, rel=0.1)


def test_populations_files_and_jit_take_them(tmp_path):
    def error(key, mixed):
        chip, _ = cx.program(key, mixed, W)
        return cx.mvm_error(key, mixed, chip, W, X, 1e5)

    keys = jax.random.split(KEY, 3)
    together = jax.jit(jax.vmap(error, (0, None)))(keys, tile())
    np.testing.assert_allclose(together, [error(k, tile()) for k in keys], rtol=1e-5)
    chip, _ = cx.program(KEY, tile(), W)
    cx.save(tmp_path / "chip.npz", chip)
    cx.save_hardware(tmp_path / "tile.toml", tile())
    again, hardware = cx.load(tmp_path / "chip.npz"), cx.load_hardware(tmp_path / "tile.toml")
    np.testing.assert_array_equal(cx.mvm(KEY, hardware, again, X, 1e4), cx.mvm(KEY, tile(), chip, X, 1e4))
    with pytest.raises(ValueError, match=r"drift PowerLawDrift \+ none, the tile drift PowerLawDrift"):
        cx.mvm(KEY, tile(devices.pcm()), chip, X)


def test_gradients_reach_the_numbers_of_every_kind(x64):
    def loss(numbers):
        parts = cx.replace(devices.pcm(), g_max=numbers[0]), cx.replace(STILL, g_max=numbers[1])
        mixed = tile(Mixed(parts), wires=cx.Wires(2.0, 2.0))
        chip, _ = cx.program(KEY, mixed, W)
        return jnp.mean(cx.mvm(KEY, mixed, chip, X, 1e4) ** 2)

    check_gradients(loss, jnp.asarray([25.0, 10.0]))


def test_networks_train_for_them():
    from flax import nnx

    model = cx.nn.to_analog(nnx.Linear(20, 12, rngs=nnx.Rngs(0)), tile())
    slope = nnx.grad(lambda m: jnp.sum(m(X) ** 2))(model)
    assert all(jnp.isfinite(a).all() for a in jax.tree.leaves(slope))


def test_what_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="cannot be shared equally"):
        cx.Tile(device=Mixed((STILL, STILL, STILL)), cell=CELL)
    with pytest.raises(ValueError, match="same states"):
        Mixed((STILL, cx.replace(STILL, states=8)))
    with pytest.raises(ValueError, match=r"Mixed\.parts"):
        Mixed(())
