"""Where to put a weight: strategies as cells, their error in closed form, and the search for the best one."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st

import crossjax as cx
from crossjax import devices, strategies
from crossjax.strategies import scan

KEY = jax.random.key(2)
LAWFUL = {name: device for name in devices.DEVICES if not isinstance((device := devices.get(name)).programming,
                                                                     devices.ByPulses)}  # fmt: skip
SPLITS = ["lsp_first", "msp_first", "equal", "one"]
REFERENCE = {  # physics of one and two pairs, computed independently: LSP first, MSP first, equal
    (2.0, 1.0): (0.0430, 0.0427, 0.0424), (2.0, 2.0): (0.0415, 0.0475, 0.0446), (2.0, 3.0): (0.0431, 0.0507, 0.0472),
    (3.0, 1.0): (0.0344, 0.0341, 0.0343), (3.0, 2.0): (0.0318, 0.0386, 0.0361), (3.0, 3.0): (0.0323, 0.0412, 0.0382),
}  # fmt: skip


@pytest.mark.parametrize("split", SPLITS)
@given(w=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8), factor=st.sampled_from([1.0, 2.0, 3.5]))
@settings(max_examples=25)
def test_a_fixed_split_is_a_strategy(split, w, factor):
    cell, w = cx.Pairs((factor, 1.0), split), jnp.asarray(w)
    np.testing.assert_allclose(strategies.as_strategy(cell).encode(w), cell.encode(w), atol=2e-5)


@given(point=st.lists(st.floats(0, 1, width=32), min_size=20, max_size=20), w=st.floats(-1, 1, width=32))
@settings(max_examples=100)
def test_every_point_of_the_cube_is_a_valid_encoding(point, w):
    cube = strategies.Cube(significance=(1.0, 4.0))
    strategy = strategies.at_point(cube, jnp.asarray(point))
    cx.Strategy(tuple(float(f) for f in strategy.factors), strategy.knots, strategy.x, float(strategy.scale))  # checks
    np.testing.assert_allclose(strategy.decode(strategy.encode(jnp.asarray([w]))), [w], atol=3e-5)


@pytest.mark.parametrize("significance", [None, (1.0, 4.0)])
def test_a_strategy_has_a_point_and_the_point_the_strategy(significance):
    factors = (2.0, 1.0)
    cube = strategies.Cube(factors, scan.knots_for(factors), significance)
    for split in SPLITS[:3]:
        wanted = strategies.as_strategy(cx.Pairs(factors, split))
        found = strategies.at_point(cube, strategies.point_of(cube, wanted))
        np.testing.assert_allclose(found.x, wanted.encode(found.knots), atol=1e-5)


def test_three_pairs_and_other_knots_are_searched_like_two():
    cube = strategies.Cube((4.0, 2.0, 1.0), (0.0, 0.1, 0.35, 1.0))
    strategy = strategies.at_point(cube, jax.random.uniform(KEY, (cube.dimensions,)))
    w = jnp.linspace(-1, 1, 41)
    np.testing.assert_allclose(strategy.decode(strategy.encode(w)), w, atol=1e-5)


@pytest.mark.parametrize("name", LAWFUL)
@pytest.mark.slow
def test_closed_form_and_sampling_agree(name):
    """Within 1 % of the error, on every device with a programming law, for fixed and searched strategies."""
    device, density = LAWFUL[name], strategies.gaussian(3.0, points=9)
    cube = strategies.Cube()
    cells = [cx.Pairs((2.0, 1.0)), strategies.at_point(cube, jax.random.uniform(KEY, (cube.dimensions,)))]
    for cell in cells:
        closed = strategies.weight_error(cell, device, density, (1.0, 3600.0, 3e7))
        sampled = strategies.weight_error(cell, device, density, (1.0, 3600.0, 3e7), key=KEY, samples=20_000)
        np.testing.assert_allclose(sampled.error, closed.error, rtol=0.01, atol=1e-6)
        np.testing.assert_allclose(sampled.alpha, closed.alpha, rtol=0.01)


@pytest.mark.slow
def test_faults_are_in_the_closed_form():
    device = cx.replace(devices.pcm(), faults=cx.Faults(low=0.02, high=0.01, anywhere=0.03))
    density = strategies.gaussian(3.0, points=5)
    closed = strategies.weight_error(cx.Pairs(), device, density, (1.0,))
    sampled = strategies.weight_error(cx.Pairs(), device, density, (1.0,), key=KEY, samples=40_000)
    np.testing.assert_allclose(sampled.error, closed.error, rtol=0.02)


def test_the_published_table_of_fixed_splits():
    for (clip, factor), wanted in REFERENCE.items():
        density = strategies.at_knots(clip)
        cells = [cx.Pairs((factor, 1.0), split) for split in SPLITS[:3]]
        found = [float(strategies.weight_error(cell, devices.pcm(), density).loss) ** 0.5 for cell in cells]
        np.testing.assert_allclose(found, wanted, rtol=0.02)


@pytest.mark.slow
def test_the_error_is_differentiable_by_every_number(x64):
    density = strategies.gaussian(3.0, points=7)
    cube = strategies.Cube()
    point = jax.random.uniform(KEY, (cube.dimensions,), minval=0.1, maxval=0.9)
    strategy = strategies.at_point(cube, point)

    def loss(tree):
        point, t, g_max = tree
        device = cx.replace(devices.pcm(), g_max=g_max)
        return strategies.weight_error(strategies.at_point(cube, point), device, density, t).loss

    check_gradients(loss, (point, jnp.array([10.0, 1e5]), 25.0), rtol=2e-4, atol=1e-10)
    by_x = jax.grad(lambda x: jnp.sum(cx.replace(strategy, x=x).encode(jnp.linspace(-1, 1, 5)) ** 2))(strategy.x)
    assert bool(jnp.isfinite(by_x).all()) and float(jnp.abs(by_x).max()) > 0


@pytest.mark.slow
def test_the_published_objective_in_numpy_agrees_with_the_closed_form():
    for name in ("pcm", "reram_wan", "reram_cmo"):
        density, device = strategies.gaussian(3.0, points=9), devices.get(name)
        strategy = strategies.as_strategy(cx.Pairs((2.0, 1.0)))
        sampled = strategies.SampledLoss(device, density, strategies.TIMES, samples=20_000)
        numbers = (np.asarray(a, float) for a in (strategy.factors, strategy.knots, strategy.x, strategy.scale))
        found = sampled(np.random.default_rng(0), *numbers)
        assert found == pytest.approx(float(strategies.weight_error(strategy, device, density).loss), rel=0.02)


@pytest.mark.slow
def test_the_search_finds_what_is_best_for_the_device():
    """LSP first for PCM at F = 2; the MSP before the LSP is full where that pays; never worse than fixed splits."""
    from crossjax.papers import mackin_study

    cases = {"pcm": (devices.pcm(), 3.0, True), "own": (mackin_study.favours_msp(), 4.0, False)}
    for device, clip, lsp_first in cases.values():
        task = strategies.problem(device, strategies.at_knots(clip))
        (one,) = scan.scan(KEY, task, [2.0], bends=False, starts=16, steps=200)
        assert one.best.error <= min(one.fixed.values()) * (1 + 1e-5)
        assert one.best.error < one.fixed["MSP first"] and one.best.error < one.fixed["equal"]
        assert scan.is_lsp_first(one.best.strategy) == lsp_first
    assert one.fixed["MSP first"] < one.fixed["LSP first"]


@pytest.mark.slow
def test_evolution_and_the_published_search_get_there_too():
    task = strategies.problem(devices.pcm(), strategies.at_knots(2.0))
    cube = strategies.Cube((2.0, 1.0))
    best = strategies.descend(KEY, task, cube, starts=8, steps=150)
    assert strategies.evolve(0, task, cube, generations=60).error < 1.03 * best.error
    sampled = strategies.SampledLoss(devices.pcm(), strategies.at_knots(2.0), strategies.TIMES, samples=20)
    slow = strategies.published(0, task, cube, sampled, limit=0.2, popsize=2)
    assert slow.ended == "stopped after 0.2 s" and slow.error >= best.error * (1 - 1e-6)


@pytest.mark.slow
def test_an_error_of_products_knows_the_inputs():
    w = jax.random.normal(KEY, (40, 30))
    plain = strategies.mvm_error(cx.Pairs(), devices.pcm(), w, (1.0, 1e5))
    density = strategies.of_weights(w, points=129)
    weight = strategies.weight_error(cx.Pairs(), devices.pcm(), density, (1.0, 1e5)).error
    size = float(jnp.sqrt(jnp.mean(w**2)) / jnp.abs(w).max())
    np.testing.assert_allclose(plain, weight / size, rtol=0.01)  # independent inputs without a mean: the weights' own
    tile = cx.Tile(40, 30, device=cx.replace(devices.pcm(), read=None))
    x = 1.0 + 0.5 * jax.random.normal(jax.random.key(9), (4000, 40))
    wanted = strategies.mvm_error(cx.Pairs(), tile.device, w, (1e5,), mean=1.0, deviation=0.5)

    def measured(k):
        chip, _ = cx.program(k, tile, w)
        return cx.mvm_error(k, tile, chip, w, x, 1e5)

    found = jax.vmap(measured)(jax.random.split(KEY, 60))
    np.testing.assert_allclose(jnp.sqrt(jnp.mean(found**2)), wanted[0], rtol=0.05)


@pytest.mark.parametrize("how", [cx.OneShot(), cx.Iterative(iterations=4), cx.GDP(iterations=4, batch=64),
                                 cx.RowWise(rounds=4)], ids=["one shot", "iterative", "gdp", "row-wise"])  # fmt: skip
@pytest.mark.slow
def test_every_method_programs_a_strategy(how):
    w = jax.random.normal(KEY, (24, 16))
    strategy = strategies.as_strategy(cx.Pairs((2.0, 1.0)), (0.0, 0.3, 1.0))
    tile = cx.Tile(24, 16, device=cx.Device(g_max=25.0), cell=strategy, compensation=None)
    chip, _ = cx.program(KEY, tile, w, how)
    assert float(cx.mvm_error(KEY, tile, chip, w)) < 0.02
    swept = jax.vmap(lambda s: cx.program(KEY, cx.replace(tile, **{"cell.scale": s}), w, how)[0].cells.g)
    assert swept(jnp.array([3.0, 3.0])).shape[0] == 2


def test_measured_splits_fill_every_device_to_its_own_end():
    """Devices whose SET conductance spreads: filled to a nominal maximum, the weak ones miss what they should hold."""
    device = cx.Device(g_max=25.0, ceiling=0.1)
    w = jax.random.uniform(KEY, (64, 64), minval=-1, maxval=1)
    errors = {}
    for split in ("msp_first", "measured"):
        tile = cx.Tile(64, 64, device=device, cell=cx.Pairs((1.0, 1.0), split), compensation=None)
        chip, _ = cx.program(KEY, tile, w)
        found = cx.weights_at(KEY, tile, chip) / jnp.abs(w).max()
        inside = jnp.abs(w) < 0.7 * jnp.abs(w).max()  # what the second device can still make up for
        errors[split] = float(jnp.abs(found - w / jnp.abs(w).max())[inside].max())
    assert errors["measured"] < 1e-5 < 0.02 < errors["msp_first"]
    assert float(chip.cells.g.max()) <= float(chip.cells.ceiling.max())


def test_a_strategy_comes_back_from_its_file(tmp_path):
    strategy = strategies.at_point(strategies.Cube(), jax.random.uniform(KEY, (19,)))
    strategies.save_strategy(tmp_path / "s.json", strategy, {"device": "pcm"})
    again = strategies.load_strategy(tmp_path / "s.json")
    w = jnp.linspace(-1, 1, 11)
    np.testing.assert_allclose(again.encode(w), strategy.encode(w), atol=1e-6)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.update(format="other"), "is no strategy"),
        (lambda c: c.update(version=7), "update it"),
        (lambda c: c.pop("knots"), "lacks knots"),
        (lambda c: c.update(scale=9.0), "off by"),
        (lambda c: c.update(conductances=[[0.0, 1.0]]), "Strategy.x must be"),
        (lambda c: c.update(knots=["a"]), "no valid strategy"),
    ],
)
def test_a_file_that_is_no_strategy_is_refused(tmp_path, change, message):
    path = tmp_path / "s.json"
    strategies.save_strategy(path, strategies.as_strategy(cx.Pairs((2.0, 1.0))))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        strategies.load_strategy(path)
    path.write_text(path.read_text()[:40])
    with pytest.raises(ValueError, match="truncated or not a strategy file"):
        strategies.load_strategy(path)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: strategies.weight_error(cx.Pairs(), devices.pcm(), strategies.gaussian(), (10.0, 1.0)), "ascend"),
        (lambda: strategies.weight_error(cx.Pairs(), devices.pcm(), strategies.gaussian(), (-1.0,)), "≥ 0"),
        (lambda: strategies.weight_error(cx.Pairs(), devices.pcm_pulsed(), strategies.gaussian()), "by its pulses"),
        (
            lambda: strategies.weight_error(cx.Pairs((1.0, 1.0), "residual"), devices.pcm(), strategies.gaussian()),
            "turns",
        ),
        (lambda: strategies.problem(devices.pcm_pulsed(), strategies.gaussian()), "by its pulses"),
        (lambda: strategies.Cube(scale=1.5), "scale"),
        (lambda: strategies.Cube(low=0.4, high=0.6, scale=0.5), "no strategy can reach"),
        (lambda: strategies.Cube(knots=(0.0, 0.5)), "ascend from 0 to 1"),
        (lambda: strategies.at_point(strategies.Cube(), jnp.zeros(5)), "19 coordinates"),
        (lambda: strategies.of_weights(jnp.array([1.0, -3.0]), limit=2.0), "1 of 2 weights are larger"),
        (lambda: strategies.of_weights(jnp.zeros(3)), "not all 0"),
        (lambda: strategies.as_strategy(cx.bit_slices(2, 2)), "no function of the weight"),
        (lambda: cx.Strategy((1.0,), jnp.array([0.0, 0.5]), jnp.zeros((2, 2)), 1.0), "ascend from 0 to 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_weights_beyond_the_limit_are_clipped_by_choice_and_counted():
    w = jnp.array([0.5, 1.0, -3.0, 2.5])
    density = strategies.of_weights(w, limit=2.0, beyond="clip", points=3)
    np.testing.assert_allclose(density.mass, [0.125, 0.375, 0.5])
    assert strategies.count_beyond(w, 2.0) == 2


def test_lists_of_aihwkits_converter_are_a_strategy():
    """Pairs in its order, lists from the lowest weight to the highest, in µS."""
    from benchmarks.strategies_peer import strategy

    wanted = strategies.as_strategy(cx.Pairs((2.0, 1.0), "lsp_first"), np.linspace(0, 1, 6))
    major, minor = 25.0 * np.asarray(wanted.x).reshape(2, 2, 6)
    lists = [np.concatenate([b[:0:-1], a]).tolist() for pair in (minor, major) for a, b in (pair, pair[::-1])]
    found = strategy([1.0, 2.0], lists, 25.0)
    w = jnp.linspace(-1, 1, 41)
    np.testing.assert_allclose(found.encode(w), wanted.encode(w), atol=1e-6)
    assert found.factors == (2.0, 1.0) and found.scale == pytest.approx(float(wanted.scale))
