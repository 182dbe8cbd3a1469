"""Training on the chip: pulse statistics, weights of pulsed devices, schemes, both products, and whole networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import crossjax as cx
from crossjax import insitu, pulsed, replace, training
from crossjax._random import named, numbered
from crossjax.insitu import at_once
from crossjax.insitu.mixed_precision import binned, binomial
from crossjax.insitu.trains import coincidences

KEY = jax.random.key(0)
STEADY = pulsed.Pulsed(step=0.01)
SOFT = pulsed.Pulsed(pulsed.soft_bounds(), step=0.02)
SCHEMES = {
    "sgd": insitu.PulsedSGD(insitu.Single(STEADY)),
    "pair": insitu.PulsedSGD(insitu.OneSided(pulsed.Pulsed(pulsed.PowStep(), step=0.02, low=0.0, noise=0.5))),
    "significance": insitu.Significance(every=4),
    "hybrid": insitu.Significance(insitu.Levels(3), insitu.Single(STEADY), 2.0, 4, residue="subtract"),
    "mixed": insitu.MixedPrecision(insitu.OneSided(pulsed.Pulsed(low=0.0, step=0.01))),
    "v2": insitu.TikiTaka("v2", insitu.Single(SOFT), insitu.Single(STEADY), granularity=8.0),
    "chopped": insitu.TikiTaka("chopped", insitu.Single(SOFT), insitu.Single(STEADY), granularity=8.0),
    "agad": insitu.TikiTaka("agad", insitu.Single(SOFT), insitu.Single(STEADY), granularity=8.0, chop=0.3),
}


# ---------------------------------------------------------------------------------------------- pulse trains


def test_counts_are_binomial_and_cells_that_share_a_line_are_correlated():
    trains = insitu.Trains(balanced=False, adaptive=False)
    rate = 31.0  # with step 1: p = |x|, q = |d|
    x, d = jnp.array([0.5, 1.0]), jnp.array([0.4, 0.7])
    n = jax.vmap(lambda k: trains.count(k, x, d, rate, 1.0))(jax.random.split(KEY, 40_000))
    n = np.asarray(n, float)
    assert n[:, 0].mean(0) == pytest.approx([6.2, 10.85], rel=0.01)
    assert n[:, 0].var(0) == pytest.approx([4.96, 7.0525], rel=0.03)
    shared = np.cov(n[:, 0, 0], n[:, 0, 1])[0, 1]  # one row: L q q' p (1 - p)
    assert shared == pytest.approx(31 * 0.4 * 0.7 * 0.5 * 0.5, rel=0.05)
    column = np.cov(n[:, 0, 0], n[:, 1, 0])[0, 1]  # one column: L p p' q (1 - q)
    assert column == pytest.approx(31 * 0.5 * 1.0 * 0.4 * 0.6, rel=0.05)
    apart = np.corrcoef(n[:, 0, 0], n[:, 1, 1])[0, 1]
    assert abs(apart) < 0.02


@pytest.mark.parametrize("rate", [0.002, 0.05, 0.6])
def test_managed_trains_have_the_wanted_mean_until_a_train_is_full(rate):
    trains, step = insitu.Trains(), 0.01
    x, d = jnp.array([0.9, -0.3, 0.0]), jnp.array([0.5, -0.02])
    mean = jax.vmap(lambda k: trains.count(k, x, d, rate, step))(jax.random.split(KEY, 30_000)).mean(0)
    wanted = np.asarray(rate / step * x[:, None] * d[None])
    full = 31 / abs(wanted).max()
    wanted = wanted if full > 1 else np.asarray(rate / step * x[:, None] * jnp.clip(d, -0.5 * full, 0.5 * full)[None])
    np.testing.assert_allclose(mean, wanted, atol=4 * np.sqrt(abs(wanted).max() / 30_000) + 1e-4)
    assert float(trains.probabilities(x, d, rate, step)[0].max()) <= 1.0


def test_totals_are_sums_of_counts():
    x = jax.random.normal(KEY, (40, 5))
    d = jax.random.normal(jax.random.key(1), (40, 3))
    rate, step = 0.02, 0.01
    wanted = rate / step * np.asarray(x.T @ d)
    found = jax.vmap(lambda k: insitu.Trains().total(k, x, d, rate, step))(jax.random.split(KEY, 300)).mean(0)
    np.testing.assert_allclose(found, wanted, atol=3.0)
    dithered = jax.vmap(lambda k: insitu.Dithered().total(k, x, d, rate, step))(jax.random.split(KEY, 300))
    np.testing.assert_allclose(dithered.mean(0), wanted, atol=0.15)
    assert np.all(np.abs(np.asarray(dithered) - wanted) < 1)
    np.testing.assert_allclose(insitu.Expected().total(KEY, x, d, rate, step), wanted, rtol=1e-5)
    for counts in (insitu.Rounded(), insitu.MeanCount(), insitu.Implicit()):
        one = sum(counts.count(KEY, a, b, rate, step) for a, b in zip(x, d, strict=True))
        np.testing.assert_array_equal(counts.total(KEY, x, d, rate, step), one)


def test_deterministic_counts():
    x, d = jnp.array([1.0, -0.5]), jnp.array([0.8, 0.06])
    np.testing.assert_array_equal(insitu.Rounded().count(KEY, x, d, 0.05, 0.01), [[4, 0], [-2, 0]])
    np.testing.assert_array_equal(insitu.Rounded(most=2).count(KEY, x, d, 0.05, 0.01), [[2, 0], [-2, 0]])
    np.testing.assert_array_equal(insitu.Implicit().count(KEY, x, d, 0.05, 0.01), [[4, 0], [-2, 0]])
    assert abs(np.asarray(insitu.MeanCount().count(KEY, x, d, 0.05, 0.01)) - [[4, 0.3], [-2, -0.15]]).max() <= 1


def test_nothing_to_do_is_no_pulse():
    for counts in (insitu.Trains(), insitu.Rounded(), insitu.MeanCount(), insitu.Implicit(), insitu.Expected()):
        found = counts.count(KEY, jnp.zeros(3), jnp.ones(2), 0.1, 0.01)
        assert np.all(np.asarray(found) == 0)


# ---------------------------------------------------------------------------------------------------- weights


def test_a_one_sided_pair_is_refreshed_where_both_are_high():
    pair = insitu.OneSided(pulsed.Pulsed(low=0.0, step=0.01))
    state = pair.draw(KEY, (1, 3), count=True)
    state = replace(state, x=jnp.array([[[0.8, 0.6, 0.3]], [[0.4, 0.3, 0.8]]]))
    then = pair.rest(KEY, state)
    np.testing.assert_allclose(then.x, [[[0.4, 0.6, 0.0]], [[0.0, 0.3, 0.5]]], atol=1e-6)
    np.testing.assert_array_equal(then.pulses, [[[2, 0, 1]], [[1, 0, 2]]])
    np.testing.assert_allclose(pair.value(then), pair.value(state), atol=1e-6)


def test_pulses_of_a_pair_go_to_one_device():
    pair = insitu.OneSided(pulsed.Pulsed(low=0.0, step=0.01))
    state = pair.pulse(KEY, pair.draw(KEY, (1, 3), count=True), jnp.array([[3, -2, 0]]))
    np.testing.assert_allclose(state.x[:, 0], [[0.03, 0, 0], [0, 0.02, 0]], atol=1e-7)
    np.testing.assert_array_equal(state.pulses[:, 0], [[3, 0, 0], [0, 2, 0]])


@pytest.mark.parametrize("shared", [True, False])
def test_a_shared_reference_is_everybodys(shared):
    cell = insitu.Against(pulsed.Pulsed(low=0.0, step=0.01, high_spread=0.1), shared=shared)
    state = cell.draw(KEY, (4, 5))
    assert state.reference.x.shape == ((1, 1) if shared else (4, 5))
    np.testing.assert_allclose(cell.value(state), 0.0, atol=1e-6)
    np.testing.assert_allclose(cell.value(cell.pulse(KEY, state, jnp.ones((4, 5), int))), 0.02, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- schemes


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_follows_a_gradient_and_its_vmap_is_a_loop(name):
    scheme, goal = SCHEMES[name], 0.3 * jax.random.normal(jax.random.key(3), (6, 4))
    count = 800 if name == "agad" else 400  # it writes nothing in its first period, and empties its buffer
    x = jax.random.normal(jax.random.key(4), (count, 6))

    def run(key):
        state = scheme.start(key, jnp.zeros((6, 4)))

        def step(state, n):
            d = x[n] @ (goal - scheme.weights(state))
            return scheme.update(jax.random.fold_in(key, n), state, x[n][None], d[None], 0.05, n), None

        return scheme.weights(jax.lax.scan(step, state, jnp.arange(count))[0])

    keys = jax.random.split(KEY, 2)
    together = jax.jit(jax.vmap(run))(keys)
    np.testing.assert_allclose(together[0], jax.jit(run)(keys[0]), atol=1e-5)
    assert float(jnp.abs(together - goal).mean()) < 0.5 * float(jnp.abs(goal).mean())


@pytest.mark.parametrize("name", SCHEMES)
def test_schemes_count_their_pulses(name):
    scheme = SCHEMES[name]
    state = scheme.start(KEY, jnp.zeros((3, 2)), count=True)
    for n in range(24):
        state = scheme.update(jax.random.key(n), state, jnp.ones((1, 3)), jnp.full((1, 2), 0.9), 0.05, jnp.asarray(n))
    assert all(int(np.sum(count)) > 0 for count in scheme.pulses(state).values())


def test_a_batch_in_sequence_is_its_examples_and_a_batch_of_positions_is_their_sum():
    scheme = insitu.PulsedSGD(insitu.Single(replace(STEADY, noise=0.3)), insitu.Rounded())
    x, d = jax.random.normal(KEY, (5, 3)), jax.random.normal(jax.random.key(1), (5, 2))
    state = scheme.start(KEY, jnp.zeros((3, 2)))
    quiet = insitu.PulsedSGD(insitu.Single(STEADY), insitu.Rounded())
    found = quiet.update(KEY, state, x, d, 0.02, jnp.asarray(0))
    one = state
    for a, b in zip(x, d, strict=True):
        one = quiet.update(KEY, one, a[None], b[None], 0.02, jnp.asarray(0))
    np.testing.assert_allclose(found.x, one.x, atol=1e-6)
    summed = quiet.update(KEY, state, x[None], d[None], 0.02, jnp.asarray(0))  # one example of five positions
    total = insitu.Rounded().total(KEY, x, d, 0.02, 0.01)
    np.testing.assert_allclose(summed.x, jnp.clip(state.x + 0.01 * total, -1, 1), atol=1e-6)


@pytest.mark.parametrize("bound", [1.0, 0.05], ids=["a few at their bounds", "nearly all"])
def test_constant_steps_taken_at_once_are_those_of_the_sequence(bound):
    device = pulsed.Pulsed(step=0.02, low=-bound, high=bound, step_spread=0.2, high_spread=0.3, low_spread=0.3)
    x = jax.random.normal(KEY, (40, 30))
    d = jax.random.normal(jax.random.key(1), (40, 20))
    trains, state = insitu.Trains(), device.draw(KEY, (30, 20), count=True)
    found = jax.jit(at_once.updated)(KEY, device, state, trains, x, d, 0.03)
    wanted, pulses = state.x, 0
    for begin in (0, 32):
        part = slice(begin, begin + 32)
        rows, columns = trains.words(named(numbered(KEY, begin), "counts"), x[part], d[part], 0.03, 0.02)
        for k in range(rows.shape[0]):
            n = coincidences(rows[k], columns[k], x[part][k], d[part][k])
            moved = wanted + jnp.where(n > 0, n * state.up, n * state.down)
            wanted, pulses = jnp.clip(moved, state.low, state.high), pulses + jnp.abs(n)
    np.testing.assert_allclose(found.x, wanted, atol=2e-6)
    np.testing.assert_array_equal(found.pulses, pulses)
    stopped = np.mean(np.asarray((wanted == state.low) | (wanted == state.high)))
    assert 0 < stopped < 1 / 30 if bound == 1.0 else stopped > 1 / 4


def test_a_batch_by_trains_is_its_examples_one_after_the_other():
    device = pulsed.Pulsed(pulsed.LinearStep(0.5, 0.2), step=0.02, step_spread=0.2, asymmetry=0.1)
    x = jax.random.normal(KEY, (6, 30))
    d = jax.random.normal(jax.random.key(1), (6, 20))
    scheme = insitu.PulsedSGD(insitu.Single(device))
    state = one = scheme.start(KEY, jnp.zeros((30, 20)), count=True)
    found = jax.jit(scheme.update)(KEY, state, x, d, 0.05, 0)
    rows, columns = scheme.counts.words(named(KEY, "counts"), x, d, 0.05, 0.02)
    for k in range(6):
        one = scheme.synapse.pulse(KEY, one, coincidences(rows[k], columns[k], x[k], d[k]))
    np.testing.assert_allclose(found.x, one.x, atol=2e-6)
    np.testing.assert_array_equal(found.pulses, one.pulses)


@pytest.mark.parametrize("name", ["reram_es", "ecram"])
def test_several_pulses_together_are_nearly_those_one_by_one(name):
    quiet = dict.fromkeys(("step_spread", "asymmetry_spread", "low_spread", "high_spread", "noise", "write_noise"))
    device = replace(pulsed.get(name), **quiet)
    state = device.put(KEY, device.draw(KEY, (41,)), jnp.linspace(-0.7, 0.7, 41))
    for n in (1, 5, -20):
        one = device.pulse(KEY, state, jnp.full(41, n)).x
        both = replace(device, together=True).pulse(KEY, state, jnp.full(41, n)).x
        np.testing.assert_allclose(both, one, atol=0.02 * float(jnp.abs(one - state.x).max()))
    loud = replace(device, noise=2.0, together=True)
    state = loud.draw(KEY, (20_000,))
    spread = float((loud.pulse(KEY, state, jnp.full(20_000, 9)).x).std())
    single = float((loud.pulse(KEY, state, jnp.full(20_000, 1)).x).std())
    assert spread == pytest.approx(3 * single, rel=0.05)


def test_one_coincidence_moves_a_weight_by_one_step():
    scheme = insitu.PulsedSGD(insitu.Single(STEADY))
    state = scheme.update(KEY, scheme.start(KEY, jnp.zeros((1, 1))), jnp.ones((1, 1)), jnp.ones((1, 1)), 0.01, 0)
    assert float(scheme.weights(state)[0, 0]) == pytest.approx(0.01, rel=1e-6)


def test_devices_leak_to_where_a_reset_leaves_them():
    for value, home, scale in ((0.47, 0.3, 0.95), (0.21, -0.3, 0.28), (0.64, 0.3, 0.33), (0.12, -0.3, 0.12)):
        device = pulsed.Pulsed(lifetime=1 / (1 - scale), reset=home)
        state = device.put(KEY, device.draw(KEY, (1,)), jnp.full(1, value))
        for _ in range(2):
            state = device.rest(KEY, state)
        assert float(state.x[0]) == pytest.approx((value - home) * scale**2 + home, rel=1e-5)


def test_a_transfer_comes_every_t_examples_keeps_the_weight_and_turns_the_polarity():
    scheme = insitu.Significance(
        insitu.Tuned(insitu.OneSided(pulsed.Pulsed(low=0.0, step=0.01), high=1.0), rounds=30), every=3
    )
    state = scheme.start(KEY, jnp.full((2, 2), 0.1))
    for n in range(6):
        before = scheme.weights(state)
        pulse = scheme.update(KEY, state, jnp.ones((1, 2)), jnp.full((1, 2), 0.5), 0.01, jnp.asarray(n))
        assert float(pulse.sign) == (-1.0) ** ((n + 1) // 3)
        np.testing.assert_allclose(scheme.weights(pulse), before + 0.005, atol=2e-3)
        if (n + 1) % 3 == 0:
            np.testing.assert_allclose(scheme.trained(pulse), scheme.weights(pulse), atol=0.011)
        state = pulse


def test_polarity_inversion_cancels_a_fixed_asymmetry():
    drift = {}
    for invert in (False, True):
        lower = insitu.Against(pulsed.Pulsed(low=0.0, step=0.002, asymmetry=0.4))
        scheme = insitu.Significance(insitu.Levels(12), lower, every=50, invert=invert)
        state = scheme.start(KEY, jnp.zeros((1, 1)))
        sign = jnp.where(jnp.arange(400) % 2 == 0, 1.0, -1.0)  # as much up as down

        def step(state, n, scheme=scheme, sign=sign):
            x, d = jnp.ones((1, 1)), sign[n].reshape(1, 1)
            return scheme.update(jax.random.fold_in(KEY, n), state, x, d, 0.01, n), None

        drift[invert] = abs(float(scheme.weights(jax.lax.scan(step, state, jnp.arange(400))[0])[0, 0]))
    assert drift[False] > 0.2
    assert drift[True] < 0.1 * drift[False]


def test_residue_is_rewritten_subtracted_or_dropped():
    for residue, kept in (("rewrite", 0.10), ("subtract", 0.10), ("drop", 0.0)):
        scheme = insitu.Significance(insitu.Levels(3), insitu.Single(STEADY), 1.0, 10, False, residue=residue)
        state = scheme.start(KEY, jnp.full((1, 1), 0.10))
        state = scheme.transfer(KEY, replace(state, lower=scheme.lower.put(KEY, state.lower, jnp.full((1, 1), 0.10))))
        assert float(scheme.weights(state)[0, 0]) == pytest.approx(kept, abs=6e-3)


def test_mixed_precision_keeps_what_it_does_not_send():
    scheme = insitu.MixedPrecision(insitu.Single(STEADY))
    state = scheme.start(KEY, jnp.zeros((1, 2)))
    state = scheme.update(KEY, state, jnp.ones((1, 1)), jnp.array([[0.27, -0.04]]), 0.1, jnp.asarray(0))
    np.testing.assert_allclose(scheme.weights(state), [[0.02, 0.0]], atol=1e-7)
    np.testing.assert_allclose(state.chi, [[0.007, -0.004]], atol=1e-7)
    coarse = replace(scheme, epsilon=0.02)
    state = coarse.update(KEY, coarse.start(KEY, jnp.zeros((1, 1))), jnp.ones((1, 1)), jnp.array([[0.5]]), 0.1, 0)
    np.testing.assert_allclose(coarse.weights(state), [[0.02]], atol=1e-7)  # two pulses were wanted, of a step each


def test_stochastic_trains_of_mixed_precision_are_binomial():
    n = jnp.array([[5, -2, 0, 31, 60]])
    found = np.asarray(jax.vmap(lambda k: binomial(k, n))(jax.random.split(KEY, 20_000)), float)[:, 0]
    assert found.mean(0) == pytest.approx([31 * 5 / 31, -2, 0, 31, 31], abs=0.05)  # beyond 31 is lost
    assert found[:, 0].var() == pytest.approx(5 * (1 - 5 / 31), rel=0.05)


@pytest.mark.parametrize("bins", [(None, 5), (5, None), (5, 5)])
def test_either_side_of_an_outer_product_may_be_binned_alone(bins):
    x = jax.random.normal(KEY, (2000, 3))
    rounded = [binned(jax.random.key(k), x, b) for k, b in enumerate(bins)]
    for a, b in zip(rounded, bins, strict=True):
        assert len(np.unique(np.round(np.asarray(a / jnp.abs(x).max(1, keepdims=True)), 4))) <= (b or 10**6)
        assert float(jnp.abs((a - x).mean(0)).max()) < 0.03  # unbiased, every column in its own place


def test_what_is_seen_of_the_fast_array_is_unchopped():
    scheme = insitu.TikiTaka("chopped", fast=insitu.Single(STEADY), slow=insitu.Single(STEADY), visible=0.25)
    state = scheme.start(KEY, jnp.full((2, 3), 0.2))
    state = replace(state, fast=scheme.fast.put(KEY, state.fast, jnp.full((2, 3), 0.4)))
    for chopper in ([1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]):
        c = jnp.array(chopper)
        np.testing.assert_allclose(
            scheme.weights(replace(state, chopper=c)),
            jnp.broadcast_to(0.25 * c[:, None] * 0.4 + 0.2, (2, 3)),
            rtol=1e-6,
        )


def test_dynamic_references_take_an_offset_away_where_version_two_follows_it():
    offset = replace(STEADY, reference_spread=0.3)
    ends = {}
    for kind in ("v2", "agad"):
        fast = insitu.Single(replace(offset, law=pulsed.soft_bounds()))
        scheme = insitu.TikiTaka(kind, fast, insitu.Single(STEADY), granularity=20.0, chop=0.1)
        state = scheme.start(KEY, jnp.zeros((1, 60)))

        def step(state, n, scheme=scheme):
            d = 0.1 * jax.random.normal(jax.random.fold_in(KEY, n), (1, 60)) - scheme.weights(state)
            return scheme.update(jax.random.fold_in(KEY, n), state, jnp.ones((1, 1)), d, 0.2, n), None

        ends[kind] = float(jnp.std(scheme.weights(jax.lax.scan(step, state, jnp.arange(3000))[0])))
    assert ends["agad"] < 0.5 * ends["v2"]


@pytest.mark.parametrize("kind", ["v2", "chopped", "agad"])
def test_presets_of_tiki_taka(kind):
    assert insitu.from_preset(kind, "ecram").kind == kind
    with pytest.raises(ValueError, match="device with settings of"):
        insitu.from_preset(kind, "pcm")


# ------------------------------------------------------------------------------------------------- products


def test_both_products_and_the_tape():
    w, x = 0.3 * jax.random.normal(KEY, (6, 4)), jax.random.normal(KEY, (5, 6))
    tape = insitu.Tape(jnp.zeros((5, 6)), jnp.zeros((5, 4)))

    def loss(tape, x):
        return jnp.sum(jnp.sin(insitu.product(KEY, insitu.Sides(), w, jnp.asarray(2.0), tape, x)))

    found, slope = jax.grad(loss, (0, 1))(tape, x)
    d = jnp.cos(2 * x @ w)
    np.testing.assert_allclose(found.x, x)
    np.testing.assert_allclose(found.d, d, rtol=1e-5)
    np.testing.assert_allclose(slope, d @ (2 * w).T, rtol=1e-5, atol=1e-6)


def test_the_backward_product_goes_through_its_own_converters():
    sides = insitu.Sides(
        cx.Tile(rows=4, cols=3), backward=cx.Tile(rows=3, cols=4, dac=cx.DAC(levels=3, scaling="absmax"))
    )
    w, x = 0.3 * jax.random.normal(KEY, (6, 4)), jax.random.normal(KEY, (1, 6))
    tape = insitu.Tape(jnp.zeros((1, 6)), jnp.zeros((1, 4)))
    d = jnp.array([[1.0, 0.9, -0.2, 0.3]])
    _, back = jax.vjp(lambda x: insitu.product(KEY, sides, w, jnp.asarray(1.0), tape, x), x)
    np.testing.assert_allclose(back(d)[0], jnp.round(d) @ w.T, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="wires"):
        insitu.Sides(cx.Tile(wires=cx.Wires()))


# ------------------------------------------------------------------------------------------------- networks


def small():
    x, y = cx.images.digits()
    return (x / x.max()).astype(np.float32), np.asarray(y, np.int32)


def test_fine_linear_devices_learn_exactly_what_a_digital_network_learns():
    x, y = small()
    net = cx.nn.models.MLP((64, 16, 10), rngs=nnx.Rngs(0))
    fine = insitu.PulsedSGD(insitu.Single(pulsed.Pulsed(step=1e-5)), insitu.Expected())
    shape = jax.ShapeDtypeStruct((1, 64), jnp.float32)
    analog = cx.nn.to_analog(net, cx.nn.Learning(fine), example=shape, report=None)
    chip = cx.nn.read(KEY, cx.nn.program(KEY, analog, ranges="keep", report=None)[0])
    step, params = training.InSitu(0.1), nnx.state(net, nnx.Param)
    (_, state), (graph, _, rest) = step.init(chip), nnx.split(net, nnx.Param, ...)
    for k in range(4):
        one = jnp.asarray(x[k : k + 1]), jnp.asarray(y[k : k + 1])
        state, *_ = step.learn(KEY, chip, state, *one, jnp.asarray(k))
        slope = jax.grad(lambda p, one=one: training.cross_entropy(nnx.merge(graph, p, rest, copy=True), *one)[0])(
            params
        )
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, slope)
    for layer, (_, op) in zip((0, 1), cx.nn.learning.learners(chip), strict=True):
        found, wanted = op.reading.get_value(), params["layers"][layer]
        np.testing.assert_allclose(found.w[0] * found.scale[0], wanted["kernel"][...], atol=1e-6)
        np.testing.assert_allclose(chip.layers[layer].bias[...], wanted["bias"][...], atol=1e-6)


def test_a_run_on_the_chip_resumes(tmp_path):
    x, y = small()
    net, scheme = cx.nn.models.MLP((64, 8, 10), rngs=nnx.Rngs(0)), insitu.Significance(every=50)
    options = {"rate": 0.05, "batch": 50, "progress": False}
    whole = training.fit_in_situ(KEY, net, (x[:100], y[:100]), scheme, epochs=3, **options)
    training.fit_in_situ(KEY, net, (x[:100], y[:100]), scheme, epochs=1, checkpoints=tmp_path, **options)
    again = training.fit_in_situ(KEY, net, (x[:100], y[:100]), scheme, epochs=3, checkpoints=tmp_path, **options)
    np.testing.assert_array_equal(whole.loss, again.loss)


def test_convolutions_digital_layers_and_schemes_side_by_side_learn():
    x, y = small()
    images = x.reshape(-1, 8, 8, 1)

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(1, 4, (3, 3), strides=2, rngs=rngs)
            self.hidden = nnx.Linear(64, 16, rngs=rngs)
            self.out = nnx.Linear(16, 10, rngs=rngs)

        def __call__(self, x):
            x = nnx.relu(self.conv(x)).reshape(x.shape[0], -1)
            return self.out(nnx.relu(self.hidden(x)))

    rules = [("conv", cx.nn.Learning(insitu.PulsedSGD(insitu.Single(STEADY)))), ("out", None)]
    found = training.fit_in_situ(
        KEY, Net(nnx.Rngs(0)), (images[:600], y[:600]), insitu.MixedPrecision(insitu.Single(STEADY)), rules, rate=0.1,
        minibatch=4, batch=100, epochs=3, progress=False,
    )  # fmt: skip
    assert found.loss[-3:].mean() < 0.5 * found.loss[0]
    on = cx.nn.learning.learners(found.model)
    assert [name for name, _ in on] == ["conv", "hidden"]


def test_a_course_over_variants_is_one_vmap_and_equals_the_loop():
    x, y = small()
    net = cx.nn.models.MLP((64, 8, 10), rngs=nnx.Rngs(0))
    step = training.InSitu(0.05)

    def run(spread, key):
        device = pulsed.Pulsed(low=0.0, step=0.01, step_spread=spread)
        hardware = cx.nn.Learning(insitu.Significance(lower=insitu.Against(device), every=20))
        analog = cx.nn.to_analog(net, hardware, example=jax.ShapeDtypeStruct((1, 64), jnp.float32), report=None)
        chips, _ = cx.nn.program(key, analog, ranges="keep", report=None)
        model = cx.nn.read(key, chips)
        found = training.course(key, model, (x[:60], y[:60]), step, epochs=1, test=(x[600:800], y[600:800]))
        return found.test, cx.nn.learning.learners(found.model)[0][1].reading.get_value().w

    spreads, keys = jnp.array([0.0, 0.3]), jax.random.split(KEY, 2)
    together = jax.jit(jax.vmap(run))(spreads, keys)
    alone = jax.jit(run)(spreads[1], keys[1])
    np.testing.assert_allclose(together[1][1], alone[1], atol=1e-5)


@pytest.mark.parametrize("name", ["step", "asymmetry", "slope_up", "high"])
def test_gradients_of_a_final_loss_by_device_numbers_match_finite_differences(name):
    with jax.enable_x64(True):
        x = jax.random.normal(KEY, (100, 5))
        goal = 0.3 * jax.random.normal(jax.random.key(1), (5, 3))

        def loss(value):
            law = pulsed.LinearStep(0.3 if name != "slope_up" else value, 0.2)
            device = pulsed.Pulsed(law, step=0.01, step_spread=0.1)
            if name != "slope_up":
                device = replace(device, **{name: value})
            scheme = insitu.PulsedSGD(insitu.Single(device), insitu.Expected())
            state = scheme.start(KEY, jnp.zeros((5, 3)))

            def step(state, n):
                d = x[n] @ (goal - scheme.weights(state))
                return scheme.update(KEY, state, x[n][None], d[None], 0.05, n), None

            state = jax.lax.scan(step, state, jnp.arange(100))[0]
            return jnp.sum((scheme.weights(state) - goal) ** 2)

        begin = {"step": 0.01, "asymmetry": 0.2, "slope_up": 0.3, "high": 0.35}[name]
        loss, e = jax.jit(loss), 1e-6
        wanted = (loss(begin + e) - loss(begin - e)) / (2 * e)
        assert float(jax.grad(loss)(begin)) == pytest.approx(float(wanted), rel=1e-4, abs=1e-8)


def test_the_asymmetry_that_a_device_may_have_is_found_by_gradient_as_by_a_sweep():
    x = jax.random.normal(KEY, (100, 6))
    goal = 0.3 * jax.random.normal(jax.random.key(1), (6, 4))
    noise = 0.1 * jax.random.normal(jax.random.key(2), (100, 4))

    def loss(u):
        device = pulsed.Pulsed(pulsed.soft_bounds(), step=0.01, asymmetry=u)
        scheme = insitu.PulsedSGD(insitu.Single(device), insitu.Expected())

        def step(state, n):
            d = x[n] @ (goal - scheme.weights(state)) + noise[n]
            return scheme.update(KEY, state, x[n][None], d[None], 0.05, n), None

        state = jax.lax.scan(step, scheme.start(KEY, jnp.zeros((6, 4))), jnp.arange(100))[0]
        return jnp.mean((scheme.weights(state) - goal) ** 2)

    both, wanted, u = jax.jit(jax.value_and_grad(loss)), 2 * loss(0.0), 0.3
    for _ in range(8):
        value, slope = both(u)
        u = float(jnp.clip(u - (value - wanted) / slope, 0.0, 0.9))
    values = jnp.linspace(0.0, 0.9, 46)
    swept = float(jnp.interp(wanted, jax.vmap(loss)(values), values))
    assert 0.05 < swept < 0.85 and u == pytest.approx(swept, abs=0.01)


def test_layers_that_cannot_learn_by_pulses_are_refused():
    class Twice(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(4, 4, rngs=rngs)

        def __call__(self, x):
            return self.layer(nnx.relu(self.layer(x)))

    data = np.zeros((8, 4), np.float32), np.zeros(8, np.int32)
    with pytest.raises(ValueError, match="called 2 times"):
        training.fit_in_situ(KEY, Twice(nnx.Rngs(0)), data, insitu.PulsedSGD(), rate=0.1, progress=False)
    with pytest.raises(ValueError, match="no layer of this network learns"):
        training.fit(KEY, cx.nn.models.MLP((4, 2), rngs=nnx.Rngs(0)), data, step=training.InSitu(0.1), steps=1, batch=8)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: insitu.Significance(every=0), "every"),
        (lambda: insitu.Significance(factor=0.0), "factor"),
        (lambda: insitu.Significance(residue="keep"), "residue"),
        (lambda: insitu.Levels(0), "bits"),
        (lambda: insitu.Tuned(rounds=0), "rounds"),
        (lambda: insitu.MixedPrecision(epsilon=0.0), "epsilon"),
        (lambda: insitu.MixedPrecision(sent="always"), "sent"),
        (lambda: insitu.TikiTaka("v3"), "kind"),
        (lambda: insitu.Trains(longest=40), "longest"),
        (lambda: insitu.PulsedSGD(batch="mean"), "batch"),
        (lambda: insitu.PulsedSGD("single"), "synapse"),
    ],
)
def test_bad_schemes_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
