"""Chips that are written more than once: what a write changes, what it leaves alone, and when drift starts again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients
from jax import lax

import crossjax as cx
from crossjax.programming import SimulatedCore

YEAR = 365 * 86400.0
W = jax.random.normal(jax.random.key(0), (20, 12))
DEVICES = {
    "hermes": cx.devices.hermes(), "pulsed": cx.devices.pcm_pulsed(), "ideal": cx.devices.ideal(),
    "few states": cx.replace(cx.devices.pcm(), states=9),
    "faulty": cx.replace(cx.devices.pcm(), faults=cx.Faults(low=0.1)),
}  # fmt: skip
CELLS = {"pair": cx.Pairs(), "two pairs": cx.Pairs((3.0, 1.0)), "reference": cx.SharedReference()}


def small(device="hermes", cell=cx.Pairs(), **parts):
    """Tiles of 8 × 8 weights: W needs six, padded."""
    return cx.Tile(8, 8 + cell.extra_columns, device=DEVICES[device], cell=cell, **parts)


def dated(chip):
    """The devices of a chip, each with the time of its write."""
    when = chip.cells.written
    return cx.replace(chip.cells, written=jnp.zeros_like(chip.cells.g) if when is None else when)


def same(a, b):
    """Whether every array of two pytrees is the same, bit for bit."""
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("device, cell", [(d, "pair") for d in DEVICES] + [("hermes", c) for c in CELLS if c != "pair"])
def test_no_request_no_change_and_no_pulse(key, device, cell):
    tile = small(device, CELLS[cell])
    chip, _ = cx.program(key, tile, W, count=True)
    after, pulses = cx.write(key, tile, chip, jnp.zeros_like(W), t=1e6)
    assert same(dated(after), dated(chip)) and int(pulses) == 0 and float(after.time) == 1e6
    again, pulses = cx.write(key, tile, chip, target=W, where=jnp.zeros((1, 1), bool), t=1e6)
    assert same(dated(again), dated(chip)) and int(pulses) == 0


def test_rows_are_written_alone_and_what_is_pulsed_drifts_anew(key):
    tile = small()
    chip, _ = cx.program(key, tile, W, count=True)
    row = jnp.arange(20)[:, None] == 3
    after, pulses = cx.write(key, tile, chip, target=W, where=row, t=1e6)
    grid = tile.grid(W.shape)
    hit = np.asarray(grid.cut(jnp.broadcast_to(row, W.shape))) & np.ones((2, 1, 1, 1, 1), bool)
    assert int(pulses) == hit.sum() == 2 * 12 == int((after.cells.pulses - chip.cells.pulses).sum())
    for old, new in zip(jax.tree.leaves(dated(chip)), jax.tree.leaves(after.cells), strict=True):
        np.testing.assert_array_equal(np.asarray(old)[~hit], np.asarray(new)[~hit])
    assert (np.asarray(after.cells.written)[hit] == 1e6).all()
    still = cx.replace(tile.device, flicker=None)
    later, fresh = still.at(key, after.cells, 1e6 + 500.0), cx.replace(after.cells, written=None)
    np.testing.assert_array_equal(np.asarray(later)[hit], np.asarray(still.at(key, fresh, 500.0))[hit])
    np.testing.assert_array_equal(np.asarray(later)[~hit], np.asarray(still.at(key, chip.cells, 1e6 + 500.0))[~hit])


@pytest.mark.thorough
def test_a_refresh_after_a_year_makes_a_chip_as_good_as_new(key):
    how = cx.GDP(iterations=100, batch=256)
    tile = cx.replace(cx.presets.hermes(), rows=32, cols=32, compensation=None)
    w = jax.random.normal(jax.random.key(1), (32, 32))
    tile = cx.typical_ranges(tile, w)
    chip, first = cx.program(key, tile, w, how)
    again, second = cx.program(jax.random.key(2), tile, w, how, chip=chip, t=YEAR)
    new, old, renewed = (
        float(cx.mvm_error(key, tile, c, w, t=t)) for c, t in ((chip, 0.0), (chip, YEAR), (again, again.time))
    )
    assert old > 2 * new and renewed == pytest.approx(new, rel=0.15)
    assert float(again.time) == pytest.approx(YEAR + how.iterations, rel=1e-6)
    assert int(second.pulses[-1]) < 1.1 * int(first.pulses[-1])
    assert float(cx.mvm_error(key, tile, again, w, t=again.time + 86400.0)) < old


def test_a_chip_that_has_not_drifted_is_not_pulsed_again(key):
    tile = cx.replace(cx.presets.ideal(), rows=8, cols=8)
    chip, _ = cx.program(key, tile, W, cx.Iterative(iterations=3))
    again, history = cx.program(key, tile, W, cx.Iterative(iterations=3), chip=chip, t=10.0)
    assert same(again.cells, chip.cells) and int(history.pulses[-1]) == 0


@pytest.mark.parametrize(
    "how", [cx.GDP(iterations=3, batch=64), cx.GDP(iterations=3, batch=64, seconds=None)], ids=["timed", "at once"]
)
def test_programming_again_leaves_what_it_does_not_pulse_and_lets_the_rest_drift_anew(key, how):
    tile = small()
    chip, _ = cx.program(key, tile, W, cx.OneShot(), count=True)
    again, _ = cx.program(jax.random.key(5), tile, W.at[3].multiply(0.5), how, chip=chip, t=1e6)
    hit = np.asarray(again.cells.pulses > chip.cells.pulses)
    assert 0 < hit.sum() < hit.size
    for old, new in zip(jax.tree.leaves(dated(chip)), jax.tree.leaves(again.cells), strict=True):
        np.testing.assert_array_equal(np.asarray(old)[~hit], np.asarray(new)[~hit])
    drawn = np.asarray(again.cells.nu != chip.cells.nu)
    assert (np.asarray(again.cells.written)[hit] >= 1e6).all() and drawn[hit].mean() > 0.9


@pytest.mark.thorough
def test_programming_again_is_a_vmap_and_equals_its_loop(key):
    tile, how, keys = small(), cx.GDP(iterations=2, batch=16), jax.random.split(key, 2)
    old, _ = cx.program(key, tile, W, cx.OneShot())

    def again(k):
        return cx.program(k, tile, 0.5 * W, how, chip=old, t=100.0)

    last = jax.tree.map(lambda a: a[1], jax.vmap(again)(keys))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), last, again(keys[1]))


def test_a_controller_counts_from_what_it_believes(key):
    """Two arrays that differ in what they conduct, and not in what was asked of them, get the same pulses."""
    device = DEVICES["pulsed"]
    cells, request = device.reset(key, (500,)), jnp.full(500, 4.0)
    up, sent = device.pulse(key, cells, request)
    others, _ = device.pulse(jax.random.key(9), cells, request)
    assert not np.array_equal(up.g, others.g) and same(up.target, others.target)
    for change in (2.0, -1.0):
        _, a = device.pulse(key, up, jnp.full(500, change))
        _, b = device.pulse(key, others, jnp.full(500, change))
        assert len(set(np.asarray(a))) == 1 and np.array_equal(a, b)
    assert int(sent.min()) == int(sent.max()) > 1


def test_writes_under_scan_add_up(key):
    tile = cx.Tile(8, 8, device=cx.devices.ideal())
    chip = cx.build(key, tile, W.shape, scale=4.0)
    steps = jnp.stack([0.25 * W] * 4)
    (chip, total), _ = lax.scan(
        lambda at, change: ((lambda c, n: (c, at[1] + n))(*cx.write(key, tile, at[0], change)), None), (chip, 0), steps
    )
    np.testing.assert_allclose(cx.weights_at(key, tile, chip), W, atol=1e-5)
    assert int(total) == 4 * W.size
    eager = cx.build(key, tile, W.shape, scale=4.0)
    for change in steps:
        eager, _ = cx.write(key, tile, eager, change)
    np.testing.assert_allclose(eager.cells.g, chip.cells.g, rtol=1e-6)


def test_the_gradient_of_a_write(key, x64):
    tile = small()
    chip = cx.build(key, tile, (8, 8), scale=3.0)
    change = jax.random.uniform(key, (8, 8), minval=0.3, maxval=2.0)
    check_gradients(lambda c: jnp.sum(cx.write(key, tile, chip, c)[0].cells.g ** 2), change, rtol=1e-4)


@pytest.mark.parametrize("parts", [{}, {"subtract": "digital"}, {"wires": cx.Wires(20.0, 10.0, 100.0, 100.0)}], ids=str)
def test_the_transposed_product_is_that_of_the_same_array(key, x64, parts):
    """Ideal converters: x W one way, d Wᵀ the other; a network of resistors is reciprocal."""
    tile = cx.Tile(12, 7, device=cx.devices.noisy(sigma=0.05), compensation=None, **parts)
    w = jax.random.uniform(key, (12, 7), minval=-1.0, maxval=1.0)
    core, _ = SimulatedCore(tile, tile.device.reset(key, (2, 12, 7))).program(key, w)
    forward, backward = core.mvm(key, jnp.eye(12)), core.backward(key, jnp.eye(7))
    np.testing.assert_allclose(backward, forward.T, atol=1e-9)
    assert float(jnp.abs(forward - w).max()) > 1e-3


def test_drift_compensation_goes_with_a_write_and_can_be_taken_anew(key):
    tile = cx.replace(cx.presets.pcm(), rows=8, cols=8)
    chip, _ = cx.program(key, tile, W)
    after, _ = cx.write(key, tile, chip, target=0.5 * W, t=3600.0)
    assert chip.reference is not None and after.reference is None
    kept = cx.remember(key, tile, after, 7200.0)
    np.testing.assert_allclose(cx.read(key, tile, kept, 7200.0).scale, after.scale)
    errors = [float(cx.mvm_error(key, tile, c, 0.5 * W, t=3600.0 + YEAR)) for c in (kept, after)]
    assert errors[0] < errors[1]


def test_a_chip_for_reading_reads_the_same_is_smaller_and_is_not_written(key, tmp_path):
    tile = small()
    chip, _ = cx.program(key, tile, W)
    slim = chip.readable()
    np.testing.assert_array_equal(cx.read(key, tile, slim, 60.0).w, cx.read(key, tile, chip, 60.0).w)
    size = [sum(a.nbytes for a in jax.tree.leaves(c.cells)) for c in (slim, chip)]
    assert size[0] == 0.5 * size[1]  # conductance and exponent, not target and threshold
    for write in (lambda: cx.write(key, tile, slim, W), lambda: cx.program(key, tile, W, chip=slim)):
        with pytest.raises(ValueError, match="kept for reading"):
            write()
    cx.save(tmp_path / "chip.safetensors", chip, tile=tile)
    assert same(cx.load(tmp_path / "chip.safetensors", tile=tile), chip)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "either a change"),
        ({"change": W, "target": W}, "either a change"),
        ({"change": W[:3]}, r"shape \(20, 12\), got \(3, 12\)"),
        ({"change": W.at[0, 0].set(jnp.nan)}, "change must be finite"),
        ({"target": W, "where": jnp.ones(20, bool)}, "where must be booleans"),
        ({"change": W, "t": 1.0}, "not be before"),
        ({"change": W, "t": -1.0}, "time must be"),
    ],
)
def test_bad_writes_are_refused(key, arguments, message):
    tile = small()
    chip, _ = cx.write(key, tile, cx.build(key, tile, W.shape), W, t=5.0)
    with pytest.raises(ValueError, match=message):
        cx.write(key, tile, chip, **{"t": 5.0, **arguments})
    with pytest.raises(ValueError, match="not be before"):
        cx.mvm(key, tile, chip, jnp.ones(20), 4.0)
    for shape in ((0, 3), (3,)):
        with pytest.raises(ValueError, match="shape must be"):
            cx.build(key, tile, shape)
    with pytest.raises(ValueError, match="scale must be one number"):
        cx.build(key, tile, (3, 4), scale=jnp.ones(2))
